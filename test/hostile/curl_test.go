package hostile_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ocrmux/test/stand"
)

// curl asks "Expect: 100-continue" before it sends more than 1 MiB, and is what
// the old service's callers use most.
func TestCurlSeesTheStatusOfItsUpload(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("curl is missing: apt-get install curl")
	}
	s := stand.New(t, stand.Options{Backends: 1, Keys: keys, Sim: []string{"-ttft", "1ms", "-tokens", "5"}})
	url := s.Routers[0].URL
	file := func(size int) string {
		path := filepath.Join(t.TempDir(), "page.png")
		page := pngOf(100, 100)
		if err := os.WriteFile(path, []byte(page+padding[:size-len(page)]), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	accepted, refused := file(3*mebibyte), file(uploadSize)
	big := filepath.Join(t.TempDir(), "big.png")
	if err := os.WriteFile(big, []byte(pngOf(100, 100)+strings.Repeat(padding, 5)), 0o600); err != nil {
		t.Fatal(err)
	}
	auth := "Authorization: Bearer " + s.Key
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"accepted", "200", []string{"-H", auth, "-F", "file=@" + accepted, url + "/ocr"}},
		{"accepted, chunked", "200", []string{"-H", auth, "-H", "Transfer-Encoding: chunked", "-F", "file=@" + accepted, url + "/ocr"}},
		{"without a key", "401", []string{"-F", "file=@" + refused, url + "/ocr"}},
		{"without a key, chunked", "401", []string{"-H", "Transfer-Encoding: chunked", "-F", "file=@" + refused, url + "/ocr"}},
		{"with a wrong key", "401", []string{"-H", "Authorization: Bearer wrong", "-F", "file=@" + refused, url + "/ocr"}},
		{"without a key, JSON", "401", []string{"-H", "Content-Type: application/json", "--data-binary", "@" + refused, url + "/v1/chat/completions"}},
		{"too large", "413", []string{"-H", auth, "-F", "file=@" + accepted, "-F", "more=@" + refused, url + "/ocr"}},
		{"far too large", "413", []string{"-H", auth, "-F", "file=@" + big, url + "/ocr"}},
		{"far too large, chunked", "413", []string{"-H", auth, "-H", "Transfer-Encoding: chunked", "-F", "file=@" + big, url + "/ocr"}},
		{"far too large, not asking first", "413", []string{"-H", auth, "-H", "Expect:", "-F", "file=@" + big, url + "/ocr"}},
		{"nowhere", "404", []string{"-F", "file=@" + refused, url + "/upload"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				out, err := exec.Command("curl", append([]string{"-sS", "-o", filepath.Join(t.TempDir(), "answer"), "-w", "%{http_code}"}, c.args...)...).CombinedOutput()
				if err != nil || string(out) != c.want {
					t.Errorf("%v: %s instead of %s", err, out, c.want)
				}
			}
		})
	}
	if status, body := good(url, s.Key, `{"model":"deepseek-ocr","messages":[{"role":"user","content":"Hello."}]}`); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, body)
	}
}
