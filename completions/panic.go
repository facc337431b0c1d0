package completions

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// LogPanic tells the log of a recovered panic: of what type it was and where,
// but not its value, which may quote what a client sent.
func LogPanic(log *slog.Logger, message string, p any) {
	log.Error(message, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
}

var errPanicked = errors.New("panic while an answer was made")

// catch makes an error and a line in the log of a panic in f. In the goroutine
// of a flight it would end the process, and anywhere leave readers without an end.
func (s *Service) catch(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			LogPanic(s.deps.Log, "panic while an answer was made", p)
			err = errPanicked
		}
	}()
	return f()
}
