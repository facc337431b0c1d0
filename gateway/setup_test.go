package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"ocrmux/completions"
	"ocrmux/gateway"
)

// oneModel is a service before the world's own pool.
func (w *world) oneModel(name string) *completions.Service {
	w.t.Helper()
	s, err := completions.New(completions.Config{Models: []completions.Model{{Name: name, ServedAs: model, Pool: "main"}}},
		completions.Deps{Pools: map[string]completions.Pool{"main": w.pool}, Log: slog.New(slog.DiscardHandler)})
	must(w.t, err)
	return s
}

func TestApply_HoldsForWhatBeginsAfterItAndWhatHasBegunKeepsWhatItHad(t *testing.T) {
	w := newWorld(t, setup{gateway: gateway.Config{BodiesBytes: 8 << 20}})
	body := strings.Repeat(" ", 20_000) + chatBody(page(1), "") // fasthttp waits for the first 8 KiB by itself
	c, err := net.Dial("tcp", w.addr)
	must(t, err)
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", w.key, len(body), body[:10_000])
	w.eventually("it holds its memory", func() bool { return w.metric("ocrmux_body_memory_bytes") == float64(len(body)) })

	ended := w.server.Apply(gateway.Config{BodiesBytes: 16 << 20, OpenAI: gateway.OpenAI{MaxN: 2}}, w.oneModel("renamed"), nil, nil)
	if r := w.chat(body); r.status != http.StatusNotFound || r.errorCode(t) != "model_not_found" {
		t.Errorf("the model that is gone: %d %s", r.status, r.body)
	}
	if r := w.chat(strings.Replace(body, model, "renamed", 1)); r.status != http.StatusOK {
		t.Errorf("the new one: %d %s", r.status, r.body)
	}
	if r := w.chat(strings.Replace(chatBody(page(1), `,"n":3`), model, "renamed", 1)); r.status != http.StatusBadRequest {
		t.Errorf("above the new limit: %d %s", r.status, r.body)
	}
	if held, limit := w.metric("ocrmux_body_memory_bytes"), w.metric("ocrmux_body_memory_limit_bytes"); held != float64(len(body)) || limit != 16<<20 {
		t.Errorf("%v bytes of %v are held", held, limit)
	}
	select {
	case <-ended:
		t.Fatal("said to have ended while a request is in progress")
	default:
	}
	_, err = io.WriteString(c, body[10_000:])
	must(t, err)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the request in progress: %d", response.StatusCode)
	}
	<-ended
}

// metric is the value of a metric without labels.
func (w *world) metric(name string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	must(w.t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	w.t.Fatalf("no metric %s", name)
	return 0
}
