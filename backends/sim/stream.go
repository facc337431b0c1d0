package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/go-json-experiment/json"
)

// errCutShort ends an answer that a fault has ended already.
var errCutShort = errors.New("answer cut short by a fault")

// eventStream writes server-sent events, each flushed at once, and lets the
// mid-stream fault happen in its place.
type eventStream struct {
	*call
	ctx    context.Context
	w      http.ResponseWriter
	flush  func() error
	events int
}

func newEventStream(ctx context.Context, w http.ResponseWriter, c *call) *eventStream {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	es := &eventStream{call: c, ctx: ctx, w: w, flush: http.NewResponseController(w).Flush}
	_ = es.flush()
	return es
}

// send writes v as an event; kind is its event line, "" for none.
func (es *eventStream) send(kind string, v any) error {
	event := frame(kind, encode(v))
	if err := es.mishap(event); err != nil {
		return err
	}
	es.events++
	return es.put(event)
}

// last ends the stream; with it the answer is complete.
func (es *eventStream) last(kind string, data []byte) error {
	event := frame(kind, data)
	if err := es.mishap(event); err != nil {
		return err
	}
	es.work.complete()
	return es.put(event)
}

// frame is an event on the wire.
func frame(kind string, data []byte) []byte {
	if kind == "" {
		return fmt.Appendf(nil, "data: %s\n\n", data)
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", kind, data)
}

// encode is JSON of a value of ours.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// mishap lets the fault happen if event is its place.
func (es *eventStream) mishap(event []byte) error {
	if es.fault.MidStream == "" || es.events != es.fault.AfterEvents {
		return nil
	}
	return es.misbehave(event)
}

func (es *eventStream) put(event []byte) error {
	_, err := es.w.Write(event)
	if err == nil {
		err = es.flush()
	}
	if err != nil {
		return errClientLeft
	}
	return nil
}

// misbehave does what the fault says in place of event. It returns nil
// if the stream goes on. What ends the answer is counted before the client can
// know of it.
func (es *eventStream) misbehave(event []byte) error {
	if es.fault.MidStream == "hang" {
		hang(es.ctx.Done(), es.changed)
		return es.ctx.Err()
	}
	es.work.close()
	switch es.fault.MidStream {
	case "cut":
		panic(http.ErrAbortHandler)
	case "cut_chunk":
		cutInsideChunk(es.w, event)
	case "error":
		es.fail(internalError("injected fault"))
	}
	return errCutShort
}

// fail reports an error after the status has gone out.
func (es *eventStream) fail(e *apiError) { _ = es.put(es.dialect.failure(e, es.events)) }

// cutInsideChunk announces a chunk of a chunked body, sends half of it, and
// closes the connection.
func cutInsideChunk(w http.ResponseWriter, chunk []byte) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = fmt.Fprintf(buf, "%x\r\n%s", len(chunk), chunk[:len(chunk)/2])
	_ = buf.Flush()
	closeBoth(conn)
}

// closeBoth closes without a reset, so that what was written arrives.
func closeBoth(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = conn.Close()
}

// writeWhole writes a non-streaming answer, or what the fault leaves of it.
func (c *call) writeWhole(ctx context.Context, w http.ResponseWriter, body []byte) error {
	w.Header().Set("Content-Type", "application/json")
	half := body[:len(body)/2]
	switch c.fault.MidStream {
	case "":
		c.work.complete()
	case "error":
		return internalError("injected fault")
	case "end":
		_, _ = w.Write(half)
		return errCutShort
	default:
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(half)
		_ = http.NewResponseController(w).Flush()
		if c.fault.MidStream != "hang" {
			panic(http.ErrAbortHandler)
		}
		hang(ctx.Done(), c.changed)
		if err := ctx.Err(); err != nil {
			return err
		}
		c.work.complete()
		body = body[len(half):]
	}
	_, err := w.Write(body)
	return err
}
