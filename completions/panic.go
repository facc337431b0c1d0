package completions

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// LogPanic tells the log of a recovered panic: of what type it was and where,
// but not its value, which may quote what a client sent.
func LogPanic(log *slog.Logger, message string, p any) {
	log.Error(message, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
}
