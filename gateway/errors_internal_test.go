package gateway

import (
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func TestRetryAfter_NeverSaysTooSoon(t *testing.T) {
	for _, c := range []struct {
		wait        time.Duration
		seconds, ms string
	}{
		{-time.Second, "", ""},
		{0, "", ""},
		{time.Nanosecond, "1", "1"},
		{time.Second, "1", "1000"},
		{time.Second + time.Nanosecond, "2", "1001"},
		{59*time.Second + 1500*time.Microsecond, "60", "59002"},
	} {
		var h fasthttp.ResponseHeader
		setRetryAfter(&h, c.wait)
		if s, ms := string(h.Peek("Retry-After")), string(h.Peek("Retry-After-Ms")); s != c.seconds || ms != c.ms {
			t.Errorf("%v: got %q and %q, want %q and %q", c.wait, s, ms, c.seconds, c.ms)
		}
	}
}
