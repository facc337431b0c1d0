package hostile_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

const (
	mebibyte   = 1 << 20
	uploadSize = 15 * mebibyte
	// uploadTime bounds one upload, the wait for its turn included.
	uploadTime = 4 * time.Minute
)

// upload is a request with a large body that is not held in memory as a whole.
type upload struct {
	path    string
	headers []string
	before  string // the body: before, then padding up to the size, then after
	after   string
	chunked bool
}

// padding is what uploads consist of, and is shared by all.
var padding = strings.Repeat("x", uploadSize)

// do sends all of the upload and then reads.
func (u upload) do(address string) (status int, body string, err error) {
	c, err := dial(address)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(uploadTime)); err != nil {
		return 0, "", err
	}
	fill := uploadSize - len(u.before) - len(u.after)
	length := fmt.Sprintf("Content-Length: %d", uploadSize)
	if u.chunked {
		length = "Transfer-Encoding: chunked"
	}
	w := bufio.NewWriter(c)
	fmt.Fprintf(w, "POST %s HTTP/1.1\r\nHost: router\r\n%s\r\n%s\r\n\r\n", u.path, strings.Join(u.headers, "\r\n"), length)
	if u.chunked {
		fmt.Fprintf(w, "%x\r\n%s\r\n", len(u.before), u.before)
		for left := fill; left > 0; {
			n := min(left, 100_000)
			fmt.Fprintf(w, "%x\r\n%s\r\n", n, padding[:n])
			left -= n
		}
		fmt.Fprintf(w, "%x\r\n%s\r\n0\r\n\r\n", len(u.after), u.after)
	} else {
		_, _ = w.WriteString(u.before)
		_, _ = w.WriteString(padding[:fill])
		_, _ = w.WriteString(u.after)
	}
	if err := w.Flush(); err != nil {
		return 0, "", err
	}
	return answer(bufio.NewReader(c), "POST")
}

// all sends uploads at once and checks that each gets the status.
func all(t *testing.T, address string, uploads []upload, status int) {
	t.Helper()
	var sent sync.WaitGroup
	for i, u := range uploads {
		sent.Go(func() {
			if got, body, err := u.do(address); got != status {
				t.Errorf("upload %d to %s: %d instead of %d: %v %.200s", i, u.path, got, status, err, body)
			}
		})
	}
	sent.Wait()
}

func TestUploadsWithoutTheRightToMakeThemCostNoMemory(t *testing.T) {
	s := diskless(t, stand.Options{Backends: 1, Keys: keys})
	router := s.Routers[0]
	address := strings.TrimPrefix(router.URL, "http://")
	for _, kind := range []struct {
		name, path string
		headers    []string
	}{
		{"wrong key", "/v1/chat/completions", []string{"Authorization: Bearer sk-ocr-wrong"}},
		{"no key", "/ocr", []string{"Content-Type: multipart/form-data; boundary=edge"}},
	} {
		for _, expect := range []bool{false, true} {
			for _, chunked := range []bool{false, true} {
				u := upload{path: kind.path, headers: kind.headers, chunked: chunked}
				if expect {
					u.headers = append(u.headers[:len(u.headers):len(u.headers)], "Expect: 100-continue")
				}
				uploads := make([]upload, 20)
				for i := range uploads {
					uploads[i] = u
				}
				router.ResetPeak(t)
				base := router.PeakRSS(t)
				all(t, address, uploads, http.StatusUnauthorized)
				rise := router.PeakRSS(t) - base
				t.Logf("%s, expect %v, chunked %v: %.1f MiB above %.1f", kind.name, expect, chunked, mib(rise), mib(base))
				if rise > 64*mebibyte {
					t.Errorf("twenty refused uploads (%s, expect %v, chunked %v) took %.1f MiB", kind.name, expect, chunked, mib(rise))
				}
			}
		}
	}
	if got := s.Backends[0].Stats(t).Received; got != 0 {
		t.Errorf("%d requests reached the backend", got)
	}
}

func TestAuthorisedUploadsStayWithinTheirMemory(t *testing.T) {
	const bodies = 128 * mebibyte
	count := 24
	if *full {
		count = 200
	}
	for name, make := range map[string]func(key string, i int) upload{
		"form":         func(key string, i int) upload { return formUpload(key, i, false) },
		"chunked form": func(key string, i int) upload { return formUpload(key, i, true) },
		"chat":         chatUpload,
	} {
		if name != "form" && !*full {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := diskless(t, stand.Options{
				Backends: 1,
				Keys:     keys,
				Config:   "memory: {bodies: 128MiB}\nopenai: {queue: 4m, timeout: 5m}",
				Sim:      []string{"-ttft", "1ms", "-tokens", "5"},
			})
			router := s.Routers[0]
			address := strings.TrimPrefix(router.URL, "http://")
			var uploads []upload
			for i := range count {
				uploads = append(uploads, make(s.Key, i))
			}
			router.ResetPeak(t)
			base := router.PeakRSS(t)
			began := time.Now()
			all(t, address, uploads, http.StatusOK)
			rise := router.PeakRSS(t) - base
			t.Logf("%d uploads in %s: %.1f MiB above %.1f", count, time.Since(began).Round(time.Millisecond), mib(rise), mib(base))
			if rise > bodies*3/2 {
				t.Errorf("uploads took %.1f MiB where 128 may be held", mib(rise))
			}
			if got := s.Backends[0].Stats(t).Received; got != int64(count) {
				t.Errorf("the backend received %d of %d uploads", got, count)
			}
		})
	}
}

// formUpload is an image of its own in a form.
func formUpload(key string, i int, chunked bool) upload {
	return upload{
		path: "/ocr",
		headers: []string{
			"Authorization: Bearer " + key,
			"Content-Type: multipart/form-data; boundary=edge",
		},
		before:  "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n" + pngOf(100+i, 100),
		after:   "\r\n--edge--\r\n",
		chunked: chunked,
	}
}

// chatUpload is the same in base64, whose "xxxx" stands for other padding.
func chatUpload(key string, i int) upload {
	png := pngOf(100+i, 100)
	png += strings.Repeat(" ", (3-len(png)%3)%3)
	before, after, _ := strings.Cut(chat("data:image/png;base64,"+base64Of(png)+"|"), "|")
	for (uploadSize-len(before)-len(after))%4 != 0 {
		after += " "
	}
	return upload{
		path:    "/v1/chat/completions",
		headers: []string{"Authorization: Bearer " + key, "Content-Type: application/json"},
		before:  before,
		after:   after,
	}
}

func mib(bytes int64) float64 { return float64(bytes) / mebibyte }

// diskless puts up a stand whose processes have nowhere to put a temporary file,
// and checks at the end that the router has written nothing but its log.
func diskless(t *testing.T, o stand.Options) *stand.Stand {
	t.Helper()
	t.TempDir() // made before there is no place for it
	t.Setenv("TMPDIR", "/nowhere")
	s := stand.New(t, o)
	router := s.Routers[0]
	before := writtenBytes(t, router.PID())
	t.Cleanup(func() {
		// A block of the file system is accounted for as a whole.
		if n := writtenBytes(t, router.PID()) - before; n > mebibyte {
			t.Errorf("the router wrote %d bytes to disk", n)
		} else {
			t.Logf("the router wrote %d bytes to disk, its log included", n)
		}
	})
	return s
}

// writtenBytes is what a process has caused to be written to storage.
func writtenBytes(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "io"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n int64
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			return n
		}
	}
	t.Fatal("no write_bytes")
	return 0
}
