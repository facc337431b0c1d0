package hostile_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
)

// The smallest images of their kinds that claim a size. Nothing in them but the
// PNG's could be decoded to the end, which the router does not try.

func pngChunk(kind string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

func pngWith(width, height uint32, chunks ...[]byte) string {
	header := binary.BigEndian.AppendUint32(nil, width)
	header = binary.BigEndian.AppendUint32(header, height)
	header = append(header, 8, 0, 0, 0, 0) // 8 bits of grey
	b := append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", header)...)
	for _, c := range chunks {
		b = append(b, c...)
	}
	return string(append(b, pngChunk("IEND", nil)...))
}

// pngOf is white rows of width and height, as far as 1 MiB of them.
func pngOf(width, height int) string {
	return pngWith(uint32(width), uint32(height), deflated(min(height*(width+1), 1<<20)))
}

// pngBomb is a PNG whose pixels are all there, at a thousandth of their size.
func pngBomb(width, height int) string {
	return pngWith(uint32(width), uint32(height), deflated(height*(width+1)))
}

func deflated(n int) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	block := make([]byte, 64<<10)
	for ; n > 0; n -= len(block) {
		_, _ = w.Write(block[:min(n, len(block))])
	}
	_ = w.Close()
	return pngChunk("IDAT", b.Bytes())
}

func gifOf(width, height int) string {
	b := []byte("GIF89a")
	b = binary.LittleEndian.AppendUint16(b, uint16(width))
	b = binary.LittleEndian.AppendUint16(b, uint16(height))
	return string(append(b, 0, 0, 0, 0x3b))
}

func jpegOf(width, height int) string {
	b := []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x0b\x08")
	b = binary.BigEndian.AppendUint16(b, uint16(height))
	b = binary.BigEndian.AppendUint16(b, uint16(width))
	return string(append(b, 1, 1, 0x11, 0, 0xff, 0xd9))
}

func bmpOf(width, height int) string {
	b := append([]byte("BM"), make([]byte, 12)...)
	b = binary.LittleEndian.AppendUint32(b, 40)
	b = binary.LittleEndian.AppendUint32(b, uint32(width))
	b = binary.LittleEndian.AppendUint32(b, uint32(height))
	return string(append(b, make([]byte, 28)...))
}

func webpOf(width, height int) string {
	bits := uint32(width-1)&0x3fff | (uint32(height-1)&0x3fff)<<14
	b := []byte("RIFF\x1e\x00\x00\x00WEBPVP8L\x0a\x00\x00\x00\x2f")
	b = binary.LittleEndian.AppendUint32(b, bits)
	return string(append(b, make([]byte, 13)...))
}
