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
