package gateway

import "testing"

func TestEveryLengthFindsABufferThatHoldsItAndGoesBackToItsClass(t *testing.T) {
	var b buffers
	b.garbage.Store(1 << 40)
	most := classSize(len(b.pools) - 1)
	if most != 64<<20 {
		t.Fatalf("the largest buffer has %d bytes", most)
	}
	last := -1
	for class := range b.pools {
		size := classSize(class)
		if sizeClass(size) != class || sizeClass(size+1) != class+1 || size <= last {
			t.Errorf("class %d of %d bytes: %d, and %d for a byte more", class, size, sizeClass(size), sizeClass(size+1))
		}
		last = size
	}
	for _, n := range []int{0, 1, 4096, 4097, 300_000, 1 << 20, 1<<20 + 1, 15 << 20} {
		body, p := b.get(n)
		if len(body) != n || p == nil || sizeClass(len(*p)) != sizeClass(n) {
			t.Errorf("%d bytes: got %d", n, len(body))
		}
		b.put(p)
	}
	if body, p := b.get(most + 1); len(body) != most+1 || p != nil {
		t.Errorf("%d bytes beyond the largest, to be put back: %v", len(body), p != nil)
	}
}
