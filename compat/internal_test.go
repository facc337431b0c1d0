package compat

import (
	"strings"
	"testing"
)

func BenchmarkScanString300kB(b *testing.B) {
	data := []byte(`"` + strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+/", 4700) + `"`)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s := scanner{data: data}
		if err := s.skip(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBase64Run300kB(b *testing.B) {
	data := []byte(strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+/", 4700))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if base64Run(data) != len(data) {
			b.Fatal("not base64")
		}
	}
}

func TestBase64Run_StopsAtWhatTheLibraryRefuses(t *testing.T) {
	for position := range 40 {
		for c := range 256 {
			text := []byte(strings.Repeat("Ab+/z09aZ", 5)[:40])
			text[position] = byte(c)
			want := len(text)
			if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", rune(c)) {
				want = position
			}
			if got := base64Run(text); got != want {
				t.Errorf("byte %#x at %d: got %v, want %v", c, position, got, want)
			}
		}
	}
}
