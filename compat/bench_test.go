package compat_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"io"
	"math/rand/v2"
	"testing"

	"ocrmux/compat"
)

const smallBody = `{"model":"deepseek-ai/DeepSeek-OCR","messages":[{"role":"system","content":"You read pages."},{"role":"user","content":[{"type":"text","text":"Free OCR."}]}],"temperature":0,"max_tokens":1024,"stream":true,"stream_options":{"include_usage":true}}`

// page is a data URL of about n bytes, of noise, which PNG cannot press.
func page(n int) string {
	img := image.NewGray(image.Rect(0, 0, 500, n*3/4/500))
	noise := rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix {
		img.Pix[i] = byte(noise.Uint32())
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())
}

func BenchmarkParse(b *testing.B) {
	bodies := map[string]string{"small": smallBody, "page300kB": chat(`{"type":"text","text":"Free OCR."},{"type":"image_url","image_url":{"url":"` + page(300_000) + `"}}`)}
	for _, name := range []string{"small", "page300kB"} {
		body := []byte(bodies[name])
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := compat.Parse(compat.Chat, body, rules); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRewrite(b *testing.B) {
	r, err := compat.Parse(compat.Chat, []byte(smallBody), rules)
	if err != nil {
		b.Fatal(err)
	}
	set := []compat.Member{{Name: "model", Value: []byte(`"served"`)}}
	absent := []compat.Member{{Name: "skip_special_tokens", Value: []byte("false")}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.Copy(io.Discard, r.Rewrite(set, absent).Open()); err != nil {
			b.Fatal(err)
		}
	}
}
