package cache_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"ocrmux/cache"
)

func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

func TestDigest_IsTheSameHoweverAnImageCame(t *testing.T) {
	d, other := cache.NewDigest([16]byte{1}), cache.NewDigest([16]byte{2})
	seen := make(map[[32]byte]int)
	all := noise(40_000)
	sizes := []int{12287, 12288, 12289, 24575, 24576, 24577, 36864, 40_000}
	for size := range 200 {
		sizes = append(sizes, size)
	}
	for _, size := range sizes {
		image := all[:size]
		sum := d.Sum(image)
		text := []byte(base64.StdEncoding.EncodeToString(image))
		if got, err := d.SumBase64(text); err != nil || got != sum {
			t.Errorf("%d bytes: %v, as base64 another sum: %t", size, err, got != sum)
		}
		if d.Sum(bytes.Clone(image)) != sum || cache.NewDigest([16]byte{1}).Sum(image) != sum {
			t.Errorf("%d bytes: the sum changes", size)
		}
		if other.Sum(image) == sum {
			t.Errorf("%d bytes: the secret changes nothing", size)
		}
		if same, ok := seen[sum]; ok {
			t.Errorf("%d and %d bytes have the same sum", same, size)
		}
		seen[sum] = size
	}
}

func TestDigest_SeesEveryByte(t *testing.T) {
	d, image := cache.NewDigest([16]byte{1}), noise(30_000)
	sum := d.Sum(image)
	for range 1000 {
		at, bit := rand.IntN(len(image)), byte(1)<<rand.IntN(8)
		image[at] ^= bit
		if d.Sum(image) == sum {
			t.Fatalf("byte %d changes nothing", at)
		}
		image[at] ^= bit
	}
	image[0], image[12288] = image[12288], image[0]^1 // blocks have an order
	swapped := append(bytes.Clone(image[12288:24576]), image[:12288]...)
	if d.Sum(swapped) == d.Sum(image[:24576]) {
		t.Error("the order of blocks changes nothing")
	}
}

// Text that others may read in another way has no sum at all.
func TestDigest_RefusesWhatIsNotBase64(t *testing.T) {
	d := cache.NewDigest([16]byte{1})
	good := base64.StdEncoding.EncodeToString(noise(30_000))
	for name, text := range map[string]string{
		"another character":                   good[:100] + "*" + good[101:],
		"the other alphabet":                  good[:100] + "-" + good[101:],
		"not ASCII":                           good[:100] + "\x80" + good[101:],
		"cut":                                 good[:len(good)-1],
		"an end in the middle":                good[:16<<10-4] + "AA==" + good[16<<10:],
		"a line break, and more than a block": good[:76] + "\n" + good[76:],
	} {
		if _, err := d.SumBase64([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzDigest_DecodesAsTheStandardLibrary(f *testing.F) {
	f.Add([]byte(base64.StdEncoding.EncodeToString(noise(100))))
	f.Add([]byte("aGVsbG8gd29ybGQsIGhlbGxv\r\nd29ybGQ="))
	f.Add([]byte("===="))
	f.Add([]byte{})
	d := cache.NewDigest([16]byte{1})
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 16<<10 {
			t.Skip() // several blocks are another test's
		}
		image, err := base64.StdEncoding.AppendDecode(nil, text)
		if err != nil {
			if _, mine := d.SumBase64(text); mine == nil {
				t.Fatalf("%q is taken, and %v", text, err)
			}
			return
		}
		if sum, mine := d.SumBase64(text); mine != nil || sum != d.Sum(image) {
			t.Fatalf("%q: %v, other bytes: %t", text, mine, mine == nil)
		}
	})
}

// BenchmarkDigest sets what naming an image costs beside what reading its body
// costs, and beside other ways that the standard library has. The quickest round
// is what counts on a machine that others use too.
func BenchmarkDigest(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"300kB", 300_000}, {"3MB", 3_000_000}} {
		image := noise(size.bytes)
		text := []byte(base64.StdEncoding.EncodeToString(image))
		d := cache.NewDigest([16]byte{1})
		run := func(name string, f func()) {
			b.Run(size.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(size.bytes))
				best := time.Duration(math.MaxInt64)
				for b.Loop() {
					start := time.Now()
					f()
					best = min(best, time.Since(start))
				}
				b.ReportMetric(float64(best)/float64(time.Microsecond), "best-µs")
			})
		}
		run("ReadUpload", loopback(b, image))
		run("ReadChat", loopback(b, text))
		run("SHA256Upload", func() { sha256.Sum256(image) })
		run("SHA256Text", func() { sha256.Sum256(text) })
		run("DecodeOnly", func() { inBlocks(text, func([]byte) {}) })
		run("DecodeSHA256", func() {
			h := sha256.New()
			inBlocks(text, func(decoded []byte) { h.Write(decoded) })
			h.Sum(nil)
		})
		run("EncodeSHA256", func() {
			h, encoded := sha256.New(), make([]byte, 16<<10)
			for rest := image; len(rest) > 0; {
				n := min(12<<10, len(rest))
				base64.StdEncoding.Encode(encoded, rest[:n])
				h.Write(encoded[:base64.StdEncoding.EncodedLen(n)])
				rest = rest[n:]
			}
			h.Sum(nil)
		})
		run("DigestUpload", func() { d.Sum(image) })
		run("DigestText", func() { d.Sum(text) })
		run("DigestChat", func() {
			if _, err := d.SumBase64(text); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// inBlocks decodes text with the standard library, 16 KiB at a time.
func inBlocks(text []byte, each func([]byte)) {
	var decoded [12 << 10]byte
	for len(text) > 0 {
		n := min(16<<10, len(text))
		m, _ := base64.StdEncoding.Decode(decoded[:], text[:n])
		each(decoded[:m])
		text = text[n:]
	}
}

// loopback returns what reads body from a connection.
func loopback(b *testing.B, body []byte) func() {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		c, err := listener.Accept()
		for ask := make([]byte, 1); err == nil; _, err = c.Write(body) {
			if _, err = c.Read(ask); err != nil {
				break
			}
		}
	}()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	buffer := make([]byte, len(body))
	return func() {
		if _, err := c.Write([]byte{1}); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buffer); err != nil {
			b.Fatal(err)
		}
	}
}
