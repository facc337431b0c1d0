package backends_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/backends/sim"
)

func TestPool_VoidsWhatWasMovedBeforeItWasCommitted(t *testing.T) {
	s := newStand(t, 2, nil)
	for i := range s.sims {
		s.fault(i, sim.Faults{MidStream: "hang", AfterEvents: 3, Health: "hang"})
	}
	var once sync.Once
	sink := &collector{commits: true}
	sink.onTake = func() { // a sink that is slow to show the first event
		once.Do(func() {
			hung := 0
			eventually(t, "a backend has the request", func() bool { return s.received() == 1 })
			if s.sims[1].Stats().Received == 1 {
				hung = 1
			}
			s.fault(1-hung, sim.Faults{})
			eventually(t, "it was moved", func() bool {
				b := s.Status().Backends[hung]
				return b.State == "suspect" && b.InFlight == 0
			})
		})
	}
	receipt, err := s.do(context.Background(), chat(true), sink)
	if err != nil || !sink.done || receipt.Attempts != 2 {
		t.Errorf("%v in %d attempts, want a complete answer in 2", err, receipt.Attempts)
	}
	if sink.begins[0].Commit() {
		t.Error("the first attempt can still be committed")
	}
}

func TestPool_TakesAnIdleConnectionForNoReplay(t *testing.T) {
	var mu sync.Mutex
	both := make(chan struct{})
	firsts := 0
	server := &connections{answer: func(c net.Conn, r *bufio.Reader, conn, request int) bool {
		if conn <= 2 && request > 1 { // both connections are stale
			return false
		}
		readRequest(r)
		if conn <= 2 {
			mu.Lock()
			if firsts++; firsts == 2 {
				close(both)
			}
			mu.Unlock()
			<-both // so that they are two
		}
		writeAnswer(c)
		return true
	}}
	s := newStandBeforeConnections(t, server)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := s.do(context.Background(), chat(false), &collector{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := s.do(t.Context(), chat(false), &collector{}); err != nil {
		t.Errorf("%v, want the replay not to meet the other stale connection", err)
	}
}

func TestPool_CancelsWhatIsStillBeingSent(t *testing.T) {
	arrived := make(chan struct{}, 1)
	server := &connections{answer: func(c net.Conn, r *bufio.Reader, conn, request int) bool {
		arrived <- struct{}{}
		for { // a head, and never a byte of the body
			if line, err := r.ReadString('\n'); err != nil || line == "\r\n" {
				break
			}
		}
		for len(arrived) > 0 {
			time.Sleep(time.Millisecond)
		}
		_, _ = io.Copy(io.Discard, r)
		return false
	}}
	s := newStandBeforeConnections(t, server)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.do(ctx, large(large(large(chat(false)))), &collector{}) // do checks that the body is closed
		ended <- err
	}()
	eventually(t, "the request arrived", func() bool { return len(arrived) == 1 })
	left := errors.New("the client left")
	cancel(left)
	if err := <-ended; err != left {
		t.Errorf("got %v, want the context's cause", err)
	}
	<-arrived
}

func TestPool_DoesNotWaitForABackendThatKeepsAnEndedStreamOpen(t *testing.T) {
	s := newStandBefore(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if _, err := s.do(ctx, chat(true), &collector{}); err != nil || ctx.Err() != nil {
		t.Errorf("%v, %v: want a complete answer and not the whole wait", err, ctx.Err())
	}
}

func TestPool_HasClosedTheBodyOfWhatWasRefusedWhileItWasSent(t *testing.T) {
	server := &connections{answer: func(c net.Conn, r *bufio.Reader, conn, request int) bool {
		for { // a head, and never a byte of the body
			if line, err := r.ReadString('\n'); err != nil || line == "\r\n" {
				break
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}")
		<-t.Context().Done() // the connection stays open
		return false
	}}
	s := newStandBeforeConnections(t, server)
	var status *backends.StatusError
	if _, err := s.do(t.Context(), large(large(large(chat(false)))), &collector{}); !errors.As(err, &status) || status.Status != 400 {
		t.Errorf("got %v, want the 400", err)
	}
}
