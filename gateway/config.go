package gateway

import (
	"net/netip"
	"time"

	"ocrmux/compat/legacy"
)

// Config is the gateway's behaviour. Zero values mean those of Defaults. Apply
// changes all of it but Time.Header and Time.Idle, which are fasthttp's.
type Config struct {
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	BodiesBytes    int64          // request bodies held at once, all together
	CacheCharge    float64        // share of its tokens that an answer costs which no GPU worked for, 0 to 1
	OpenAI         OpenAI
	Legacy         Legacy
	Time           Time
}

// OpenAI configures the routes under /v1.
type OpenAI struct {
	MaxBody   int64         // bytes of one request body
	Timeout   time.Duration // of a whole request without streaming
	Streaming time.Duration // of a whole stream
	Silence   time.Duration // longest gap between two events of a stream
	Queue     time.Duration // longest wait for a slot
	MaxN      int           // highest "n"
}

// Legacy configures /ocr and its neighbours.
type Legacy struct {
	Profile       legacy.Profile // the old program whose dialect is spoken; the union of both
	Model         string         // name of the model that reads the pages
	MaxBody       int64          // bytes of one upload
	Timeout       time.Duration  // of a whole request, queue included
	BatchParallel int            // images of one batch in work at once
}

// Time bounds what a client may take.
type Time struct {
	Header    time.Duration // to send the request's head
	Body      time.Duration // to send a body, plus a second per 64 KiB
	Idle      time.Duration // between two requests of a connection
	Write     time.Duration // a client that takes nothing of its answer
	KeepAlive time.Duration // silence of a stream before it is filled
	LameDuck  time.Duration // from the signal to stop until no connection is accepted
}

// Defaults is what holds where a Config says nothing.
func Defaults() Config {
	return Config{
		BodiesBytes: 1 << 30,
		OpenAI: OpenAI{
			MaxBody:   32 << 20,
			Timeout:   290 * time.Second, // below Node's 300 s
			Streaming: 600 * time.Second,
			Silence:   60 * time.Second,
			Queue:     10 * time.Second,
			MaxN:      8,
		},
		Legacy: Legacy{
			MaxBody:       16 << 20,
			Timeout:       300 * time.Second,
			BatchParallel: 8,
		},
		Time: Time{
			Header:    10 * time.Second,
			Body:      30 * time.Second,
			Idle:      120 * time.Second,
			Write:     15 * time.Second,
			KeepAlive: 15 * time.Second,
			LameDuck:  500 * time.Millisecond,
		},
	}
}

func (c *Config) fill() {
	d := Defaults()
	def(&c.BodiesBytes, d.BodiesBytes)
	def(&c.OpenAI.MaxBody, d.OpenAI.MaxBody)
	def(&c.OpenAI.Timeout, d.OpenAI.Timeout)
	def(&c.OpenAI.Streaming, d.OpenAI.Streaming)
	def(&c.OpenAI.Silence, d.OpenAI.Silence)
	def(&c.OpenAI.Queue, d.OpenAI.Queue)
	def(&c.OpenAI.MaxN, d.OpenAI.MaxN)
	def(&c.Legacy.MaxBody, d.Legacy.MaxBody)
	def(&c.Legacy.Timeout, d.Legacy.Timeout)
	def(&c.Legacy.BatchParallel, d.Legacy.BatchParallel)
	def(&c.Time.Header, d.Time.Header)
	def(&c.Time.Body, d.Time.Body)
	def(&c.Time.Idle, d.Time.Idle)
	def(&c.Time.Write, d.Time.Write)
	def(&c.Time.KeepAlive, d.Time.KeepAlive)
	def(&c.Time.LameDuck, d.Time.LameDuck)
}

func def[T comparable](v *T, standard T) {
	if *v == *new(T) {
		*v = standard
	}
}
