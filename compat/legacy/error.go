package legacy

import (
	"net/http"
	"strconv"
	"time"
)

// Error is everything that a caller can be told instead of a text. It is its
// own body: {"error": Message}, with more keys where the service had them.
type Error struct {
	Status     int // HTTP status
	Message    string
	RetryAfter time.Duration // 0: no retry-after
	more       object
	// exception marks what App does not survive in a batch.
	exception bool
}

func (e *Error) Error() string { return e.Message }

// Body is the JSON body of the answer.
func (e *Error) Body() []byte { return e.object().body() }

func (e *Error) object() object {
	o := object{"error": e.Message}
	for key, value := range e.more {
		o[key] = value
	}
	return o
}

func badRequest(message string) *Error {
	return &Error{Status: http.StatusBadRequest, Message: message}
}

// TooLarge is the answer to a body, a field or a form above the service's limits.
func TooLarge() *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Message: "上傳的檔案過大，最大允許 16MB"}
}

// Internal is the answer to every failure that has no words of its own, with
// the text that Werkzeug gives it.
func Internal() *Error {
	return &Error{
		Status: http.StatusInternalServerError,
		Message: "內部伺服器錯誤: 500 Internal Server Error: The server encountered an internal error and was unable to " +
			"complete your request. Either the server is overloaded or there is an error in the application.",
		exception: true,
	}
}

// ImageTooLarge is the answer to an image of more pixels than the gateway
// takes. The service had no such limit.
func ImageTooLarge() *Error { return badRequest("圖片尺寸過大") }

// NotAnImage is the answer to an upload that cannot be opened as an image.
func (p Profile) NotAnImage(path string) *Error {
	reason := "cannot identify image file '" + path + "'" // Pillow's words; a path holds nothing to escape
	if p == Standard {
		return failure(path, "無法載入圖片: "+reason)
	}
	return p.Exception(path, reason)
}

// Exception is the answer to a model that failed. The caller sees the reason,
// which must hold nothing that is not theirs to know.
func (p Profile) Exception(path, reason string) *Error {
	if p == Standard {
		return failure(path, "OCR 推理執行失敗: "+reason)
	}
	return failure(path, "OCR 處理發生錯誤: "+reason)
}

// Timeout is the answer to an image that was not read within the limit. (The
// program behind Standard had the words, but no way to say them.) The path is
// "" where the time ran out before an image was found.
func (p Profile) Timeout(path string, limit time.Duration) *Error {
	seconds := strconv.FormatFloat(limit.Seconds(), 'f', -1, 64)
	if p == Standard {
		return failure(path, "OCR 推理超時 (超過 "+seconds+" 秒)")
	}
	return failure(path, "OCR 處理超時 (超過 "+seconds+" 秒)，請嘗試使用更小的圖片或增加超時設定")
}

func failure(path, message string) *Error {
	e := &Error{Status: http.StatusInternalServerError, Message: message, exception: true}
	if path != "" {
		e.more = object{"image_path": path}
	}
	return e
}

// The service knew neither keys nor limits nor several GPUs. The answers below
// are worded in its manner.

// Unauthorized is the answer to a key that is missing or not valid.
func Unauthorized() *Error {
	return &Error{Status: http.StatusUnauthorized, Message: "未提供有效的 API 金鑰"}
}

// Forbidden is the answer to a key that may not use the model.
func Forbidden() *Error {
	return &Error{Status: http.StatusForbidden, Message: "此 API 金鑰無權使用該模型"}
}

// UnknownModel is the answer to a name that stands for no model, or for none
// that the key may use: which of the two is nobody's business.
func UnknownModel() *Error {
	return &Error{Status: http.StatusNotFound, Message: "找不到指定的模型，或此 API 金鑰無權使用該模型"}
}

// RateLimited is the answer to a caller above their limits.
func RateLimited(retryAfter time.Duration) *Error {
	return &Error{Status: http.StatusTooManyRequests, Message: "請求過於頻繁，請稍後再試", RetryAfter: retryAfter}
}

// BatchTooLarge is the answer to a batch that does not fit under the caller's
// limits as a whole, where fit of its images would.
func BatchTooLarge(images, fit int, retryAfter time.Duration) *Error {
	return &Error{
		Status:     http.StatusTooManyRequests,
		Message:    "此批次共 " + strconv.Itoa(images) + " 張圖片，目前的額度只能再處理 " + strconv.Itoa(fit) + " 張，整批未處理",
		RetryAfter: retryAfter,
		more:       object{"images": images, "images_allowed": fit},
	}
}

// AboveLimit is the answer to an upload that asks for more than the limit itself.
func AboveLimit() *Error {
	return &Error{Status: http.StatusTooManyRequests, Message: "請求超過此 API 金鑰的額度上限，重試無效"}
}

// QuotaExceeded is the answer to a caller whose month is used up.
func QuotaExceeded(resets time.Time) *Error {
	return &Error{Status: http.StatusTooManyRequests, Message: "本月額度已用完，" + resets.Format(time.DateOnly) + " (UTC) 重新計算；如需提高額度請聯絡管理員"}
}

// RouteNotAllowed is the answer to a key that may not use the route.
func RouteNotAllowed() *Error {
	return &Error{Status: http.StatusForbidden, Message: "此 API 金鑰無權使用此路徑"}
}

// Compressed is the answer to a body with a content encoding.
func Compressed() *Error {
	return &Error{Status: http.StatusUnsupportedMediaType, Message: "不支援壓縮的請求內容"}
}

// Overloaded is the answer to a request that found no room in time.
func Overloaded(retryAfter time.Duration) *Error {
	return &Error{
		Status:     http.StatusServiceUnavailable,
		Message:    "服務忙碌中，請稍後再試",
		RetryAfter: retryAfter,
		exception:  true,
	}
}

// Unavailable is the answer while no backend can work.
func Unavailable(retryAfter time.Duration) *Error {
	return &Error{
		Status:     http.StatusServiceUnavailable,
		Message:    "OCR 服務暫時無法使用，請稍後再試",
		RetryAfter: retryAfter,
		exception:  true,
	}
}
