package legacy

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"
)

// GPU is what a backend says of its GPU's memory. The zero value is what the
// service said without one; nothing is invented.
type GPU struct {
	Available                      bool
	FreeMB, TotalMB, UsedMB, Usage float64 // MiB; Usage in per cent
}

func (g GPU) object() object {
	if !g.Available {
		return object{"available": false, "free_mb": 0, "total_mb": 0, "usage_percent": 0, "used_mb": 0}
	}
	return object{"available": true, "free_mb": g.FreeMB, "total_mb": g.TotalMB, "usage_percent": g.Usage, "used_mb": g.UsedMB}
}

// Page is what an answer tells of the work on one image.
type Page struct {
	Path          string // Image.Path
	Prompt        string // the request's Prompt
	Format        Format // the request's Format
	Width, Height int    // of the image, pixels; JSON tells them
	Took          time.Duration
	Before        GPU
	After         GPU
	Warning       Warning
}

// Answer is the answer to one image that was read, status 200.
type Answer struct{ object object }

// Body is the JSON body of the answer to POST /ocr.
func (a Answer) Body() []byte { return a.object.body() }

// Answer makes what the model wrote into an answer. A text that is empty (not
// an error in Standard) or that only repeats the prompt is an *Error. A page
// of pictures alone has no text either once the tags are gone, and is none.
func (p Profile) Answer(page Page, text string) (Answer, error) {
	text = p.clean(text)
	if strings.TrimFunc(text, isSpace) == "" && p != Standard {
		return Answer{}, p.unread(page, "模型未返回任何結果", nil)
	}
	text, more := page.Format.render(page, text)
	if share, echo := echoes(strings.TrimFunc(text, isSpace), page.Prompt); echo {
		return Answer{}, p.echoed(page, text, share)
	}
	o := object{
		"image_path":      page.Path,
		"processing_time": p.seconds(page.Took),
		"text":            text,
	}
	if p != Standard {
		o["gpu_info_after"] = page.After.object()
		o["gpu_info_before"] = page.Before.object()
		o["prompt"] = page.Prompt
	}
	if p != App {
		o["gpu_memory"] = page.After.object()
	}
	maps.Copy(o, more)
	if p == Union && page.Warning != NoWarning {
		o["warning"] = page.Warning.text()
	}
	return Answer{o}, nil
}

func (p Profile) echoed(page Page, text string, share float64) *Error {
	if p == Standard {
		return &Error{
			Status:  http.StatusInternalServerError,
			Message: "OCR 結果疑似模型幻覺（文字過短且與提示詞高度重疊）。請嘗試拍攝更清晰的照片。",
			more:    object{"image_path": page.Path, "processing_time": p.seconds(page.Took), "text": text},
		}
	}
	// No text here, not even in Union: callers take an item that has one for read.
	length := len([]rune(strings.TrimFunc(text, isSpace)))
	return p.unread(page, "OCR 辨識失敗：照片可能模糊或光線不足，請重新拍攝更清晰的照片",
		object{"ocr_text_length": length, "prompt_overlap_ratio": share})
}

// unread is App's error about an image that the model looked at in vain.
func (p Profile) unread(page Page, message string, debug object) *Error {
	more := object{
		"gpu_info":        page.Before.object(),
		"image_path":      page.Path,
		"processing_time": p.seconds(page.Took),
	}
	if debug != nil {
		more["debug_info"] = debug
	}
	return &Error{Status: http.StatusInternalServerError, Message: message, more: more}
}

func (p Profile) seconds(d time.Duration) float64 {
	if p == Standard {
		return d.Seconds()
	}
	return round2(d.Seconds())
}

// Item is one image's place in the answer to a batch: its answer, or why
// there is none.
type Item struct {
	Answer Answer
	Err    error
}

// Batch is the JSON body of the answer to POST /ocr/batch, status 200 whatever
// became of the images. In App one exception fails the whole batch: the error
// is then Internal. An Err that is no *Error is shown as Internal.
func (p Profile) Batch(items []Item) ([]byte, error) {
	results := []byte{'['}
	for i, item := range items {
		if i > 0 {
			results = append(results, ',')
		}
		o := item.Answer.object
		if item.Err != nil {
			var failed *Error
			if !errors.As(item.Err, &failed) {
				failed = Internal()
			}
			if failed.exception && p == App {
				return nil, Internal()
			}
			o = failed.object()
		}
		results = o.append(results)
	}
	results = append(results, ']')
	return object{"results": json.RawMessage(results), "total": len(items)}.body(), nil
}

// Health is the answer to GET /health. Only Union admits that no backend is
// usable; callers of the others never saw anything but 200.
func (p Profile) Health(now time.Time, usable bool) (status int, body []byte) {
	status, word := http.StatusOK, "healthy"
	if !usable && p == Union {
		status, word = http.StatusServiceUnavailable, "unhealthy"
	}
	return status, object{"service": p.service(), "status": word, "timestamp": isoformat(now)}.body()
}

// isoformat is Python's datetime.isoformat of a time without a zone, which
// leaves out microseconds that are zero.
func isoformat(t time.Time) string {
	const second = "2006-01-02T15:04:05"
	if t.Nanosecond()/1000 == 0 {
		return t.Format(second)
	}
	return t.Format(second + ".000000")
}
