package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/drivers"
	"ocrmux/test/stand"
)

// readChunks decodes a stream that went well.
func readChunks(t *testing.T, a drivers.Answer) (list []drivers.Reading) {
	t.Helper()
	if a.Error != nil {
		t.Fatal(a.Error)
	}
	for _, chunk := range a.Chunks {
		r, err := drivers.Read(chunk)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	if len(list) == 0 {
		t.Fatal("no chunks")
	}
	return list
}

func stream(t *testing.T, w *world, c client) {
	whole := w.text(t, c, w.command(drivers.Chat, question("Free OCR.")))
	answer := w.do(t, c, w.command(drivers.ChatStream, question("Free OCR.")))
	if text := textOf(t, answer); text != whole {
		t.Errorf("streamed %q, whole %q", text, whole)
	}
	chunks := readChunks(t, answer)
	last := chunks[len(chunks)-1]
	if chunks[0].Choices[0].Delta.Role != "assistant" || len(last.Choices) != 1 || last.Choices[0].FinishReason != "stop" {
		t.Errorf("the first chunk is %+v, the last %+v", chunks[0], last)
	}
	if answer.Wire == nil {
		return
	}
	if got := answer.Wire.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("content type %q", got)
	}
	if body := answer.Wire.Body; bytes.Count(body, []byte("data: [DONE]\n\n")) != 1 || !bytes.HasSuffix(body, []byte("data: [DONE]\n\n")) {
		t.Errorf("the stream ends with %q", body[max(0, len(body)-100):])
	}
}

func includeUsage(t *testing.T, w *world, c client) {
	params := with(question("Free OCR."), "stream_options", map[string]any{"include_usage": true})
	answer := w.do(t, c, w.command(drivers.ChatStream, params))
	chunks := readChunks(t, answer)
	for i, chunk := range chunks[:len(chunks)-1] {
		if len(chunk.Choices) == 0 || chunk.Usage != nil {
			t.Errorf("chunk %d of %d: %s", i, len(chunks), answer.Chunks[i])
		}
	}
	last := chunks[len(chunks)-1]
	checkUsage(t, last.Usage)
	var raw struct{ Choices *[]json.RawMessage }
	if err := json.Unmarshal(answer.Chunks[len(chunks)-1], &raw); err != nil || raw.Choices == nil || len(*raw.Choices) != 0 {
		t.Errorf("the last chunk is %s", answer.Chunks[len(chunks)-1])
	}
}

func noUsage(t *testing.T, w *world, c client) {
	answer := w.do(t, c, w.command(drivers.ChatStream, question("Free OCR.")))
	for i, chunk := range readChunks(t, answer) {
		if len(chunk.Choices) == 0 || chunk.Usage != nil {
			t.Errorf("chunk %d: %s", i, answer.Chunks[i])
		}
	}
	if answer.Wire != nil && bytes.Contains(answer.Wire.Body, []byte("usage")) {
		t.Errorf("the stream speaks of usage: %s", answer.Wire.Body)
	}
}

func streamHelper(t *testing.T, w *world, c client) {
	whole := w.text(t, c, w.command(drivers.Chat, question("Free OCR.")))
	answer := w.do(t, c, w.command(drivers.ChatHelper, question("Free OCR.")))
	if text := textOf(t, answer); text != whole {
		t.Errorf("final message %q, want %q", text, whole)
	}
	if got := readWhole(t, answer); got.Choices[0].Message.Role != "assistant" || got.Choices[0].FinishReason != "stop" {
		t.Errorf("final message %s", answer.Value)
	}
}

// failsMidStream reads a stream that must end in an error after its first text.
func (w *world) failsMidStream(t *testing.T, c client, began func()) *drivers.Error {
	t.Helper()
	answers := 0
	answer := w.watch(t, c, w.command(drivers.ChatStream, question("Free OCR.")), func() { answers++; began() })
	if answer.Error == nil {
		t.Fatalf("a false success after %d chunks", len(answer.Chunks))
	}
	if answers == 0 {
		t.Fatalf("failed before its first text, after %d chunks: %s", len(answer.Chunks), answer.Error)
	}
	if answer.Error.Foreign || answer.Error.Message == "" {
		t.Errorf("%s, want the SDK's own error and a message", answer.Error)
	}
	return answer.Error
}

func midStreamFailure(t *testing.T, w *world, c client) {
	for _, kind := range []string{"cut", "cut_chunk", "end", "error"} {
		// Slow, so that the client has text before the end: what nobody has seen
		// may be tried elsewhere.
		w.breakBackends(t, map[string]any{"mid_stream": kind, "after_events": 6, "slow": 30})
		err := w.failsMidStream(t, c, func() {})
		if err.Code != "upstream_error" || !strings.Contains(err.Message, "model server failed") {
			t.Errorf("%s: %s", kind, err)
		}
		w.heal(t)
	}
}

func backendKilled(t *testing.T, w *world, c client) {
	w.breakBackends(t, map[string]any{"slow": 50}) // so that nothing is over before it is killed
	t.Cleanup(func() {
		for _, b := range w.Backends {
			b.Restart(t)
		}
	})
	w.failsMidStream(t, c, sync.OnceFunc(func() {
		for _, b := range w.Backends {
			b.Kill(t)
		}
	}))
}

// The real interval is 15 s; the router of these tests has a shorter one, and the
// silences, before the first event and within the stream, last several of them.
func silence(t *testing.T, w *world, c client) {
	const lasts = 6 * keepAlive
	want := w.text(t, c, w.command(drivers.Chat, question("Free OCR.")))
	ways := []string{drivers.ChatStream}
	if c.letter == python || c.letter == node {
		ways = append(ways, drivers.ChatHelper)
	}
	for _, way := range ways {
		for _, after := range []int{0, 4} {
			w.breakBackends(t, map[string]any{"mid_stream": "hang", "after_events": after})
			var over sync.WaitGroup // else its end could fall into the next silence
			over.Go(func() {
				<-time.After(lasts)
				for _, b := range w.Backends {
					b.SetFaults(t, nil)
				}
			})
			began := time.Now()
			answer := w.do(t, c, w.command(way, question("Free OCR.")))
			over.Wait()
			if text := textOf(t, answer); text != want {
				t.Errorf("%s, silent after %d events: %q, want %q", way, after, text, want)
			}
			if took := time.Since(began); took < lasts {
				t.Errorf("%s: there was no silence, it took %s", way, took)
			}
			if way == drivers.ChatStream {
				checkKeepAlives(t, answer)
			}
		}
	}
}

// checkKeepAlives wants to see some that no reader can take for more than that.
func checkKeepAlives(t *testing.T, answer drivers.Answer) {
	t.Helper()
	empty := 0
	for _, chunk := range readChunks(t, answer) {
		if len(chunk.Choices) == 1 && chunk.Choices[0].Delta.Role == "" && chunk.Choices[0].Delta.Content == "" && chunk.Choices[0].FinishReason == "" {
			empty++
		}
	}
	if empty < 3 {
		t.Errorf("%d keep-alives", empty)
	}
	if answer.Wire != nil && bytes.Count(answer.Wire.Body, []byte(`"delta":{}`)) != empty {
		t.Errorf("of %d keep-alives not all have an empty delta", empty)
	}
}

func clientAbort(t *testing.T, w *world, c client) {
	w.breakBackends(t, map[string]any{"slow": 50})
	command := w.command(drivers.ChatStream, question("Free OCR."))
	command.LeaveAfter = 2
	answer := w.do(t, c, command)
	left := time.Now()
	if answer.Error != nil {
		t.Fatal(answer.Error)
	}
	stand.Eventually(t, "the backend has aborted the work", func() bool {
		var aborted, working int64
		for _, b := range w.Backends {
			s := b.Stats(t)
			aborted, working = aborted+s.Aborted, working+s.InProgress
		}
		return aborted == 1 && working == 0
	})
	if took := time.Since(left); took > 2*time.Second {
		t.Errorf("it took the backend %s to learn of it", took)
	}
}

func refusedStream(t *testing.T, w *world, c client) {
	for name, value := range map[string]any{
		"temperature": -1,    // by the backend
		"n":           10000, // by the router
	} {
		answer := w.do(t, c, w.command(drivers.ChatStream, with(question("Free OCR."), name, value)))
		if answer.Error == nil || answer.Error.Status != 400 || answer.Error.Message == "" {
			t.Errorf("%s %v: %v", name, value, answer.Error)
		}
		if c.letter == python && answer.Error.Class != "BadRequestError" {
			t.Errorf("%s %v: %v", name, value, answer.Error)
		}
		checkErrorBody(t, answer)
	}
}

func splitCharacters(t *testing.T, w *world, c client) {
	for number := range 50 { // half of the texts are Chinese
		params := with(question(fmt.Sprintf("Free OCR. (%d)", number)), "model", splitModel)
		params["temperature"] = 0
		whole := w.text(t, c, w.command(drivers.Chat, params))
		before := w.wire.splits.Load()
		streamed := w.text(t, c, w.command(drivers.ChatStream, params))
		if strings.ContainsRune(streamed, '\uFFFD') || streamed != whole {
			t.Fatalf("streamed %q, whole %q", streamed, whole)
		}
		if splits := w.wire.splits.Load() - before; splits > 10 {
			t.Logf("%d characters came in two pieces", splits)
			return
		}
	}
	t.Error("no answer came in pieces")
}

// event is one of a response.
type event struct {
	Type     string
	Number   *int `json:"sequence_number"`
	Delta    string
	Text     string
	Response struct {
		Status string
		Output []struct {
			Content []struct{ Text string }
		}
		Usage struct {
			Input  int `json:"input_tokens"`
			Output int `json:"output_tokens"`
		}
	}
}

func responsesStream(t *testing.T, w *world, c client) {
	params := map[string]any{"model": stand.Model, "input": "Free OCR."}
	answer := w.do(t, c, w.command(drivers.ResponseStream, params))
	if answer.Error != nil {
		t.Fatal(answer.Error)
	}
	var order, text strings.Builder
	var last event
	for i, raw := range answer.Chunks {
		var e event
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if e.Number == nil || *e.Number != i {
			t.Errorf("event %d has the wrong number: %s", i, raw)
		}
		if name := strings.TrimPrefix(e.Type, "response.") + " "; e.Type != last.Type {
			order.WriteString(name)
		}
		if e.Type == "response.output_text.delta" {
			text.WriteString(e.Delta)
		}
		last = e
	}
	const want = "created in_progress output_item.added content_part.added output_text.delta output_text.done content_part.done output_item.done completed "
	if order.String() != want {
		t.Errorf("events %s, want %s", order.String(), want)
	}
	r := last.Response
	if r.Status != "completed" || r.Usage.Input <= 0 || r.Usage.Output <= 0 {
		t.Fatalf("it ended with %+v", last)
	}
	if len(r.Output) != 1 || len(r.Output[0].Content) != 1 || text.Len() == 0 || r.Output[0].Content[0].Text != text.String() {
		t.Errorf("the deltas say %q, the response %+v", text.String(), r.Output)
	}
}
