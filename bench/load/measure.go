package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	warmUp  = time.Second
	timeout = 30 * time.Second // of one answer
)

// plan is one scenario at one peer.
type plan struct {
	peer     peer
	scenario scenario
	request  []byte
	asked    *atomic.Uint64 // requests of fresh scenarios, over all connections
}

// result is what one window showed.
type result struct {
	cpuMicros  float64 // of the proxy, user and system, for each answer
	perSecond  float64 // answers
	p50, p99   float64 // milliseconds until the last byte of an answer
	peakMiB    float64 // resident memory of the proxy since it began
	otherCores float64 // what neither the proxies nor this bench did
}

// answered is one right answer.
type answered struct {
	at   time.Time
	took time.Duration
}

// waitUntilRight asks until an answer is right: the router needs to have seen
// its backends, and its cache the image.
func (p *plan) waitUntilRight(patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		_, err := p.converse(time.Now().Add(time.Nanosecond))
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s at %s: %w", p.scenario.name, p.peer.address, err)
		}
	}
}

// measure runs the scenario's connections through warm-up and window. One wrong
// answer is an error: nobody wants to know what it cost.
func (p *plan) measure(window time.Duration) (result, error) {
	begin := time.Now().Add(warmUp)
	end := begin.Add(window)
	conversations := make([][]answered, p.scenario.connections)
	var group errgroup.Group
	for i := range conversations {
		group.Go(func() (err error) {
			// Spread over the warm-up, so that streams do not end all at once.
			time.Sleep(warmUp * time.Duration(i) / time.Duration(len(conversations)))
			conversations[i], err = p.converse(end)
			return err
		})
	}
	time.Sleep(time.Until(begin))
	before, errBefore := p.peer.usage()
	time.Sleep(time.Until(end))
	after, errAfter := p.peer.usage()
	for _, err := range []error{group.Wait(), errBefore, errAfter} {
		if err != nil {
			return result{}, fmt.Errorf("%s at %s: %w", p.scenario.name, p.peer.address, err)
		}
	}
	var took []time.Duration
	for _, a := range slices.Concat(conversations...) {
		if a.at.After(before.at) && !a.at.After(after.at) {
			took = append(took, a.took)
		}
	}
	if len(took) == 0 {
		return result{}, fmt.Errorf("%s at %s: no answer within %s", p.scenario.name, p.peer.address, window)
	}
	slices.Sort(took)
	seconds := after.at.Sub(before.at).Seconds()
	return result{
		cpuMicros:  (after.proxy - before.proxy).Seconds() * 1e6 / float64(len(took)),
		perSecond:  float64(len(took)) / seconds,
		p50:        took[len(took)/2].Seconds() * 1e3,
		p99:        took[len(took)*99/100].Seconds() * 1e3,
		peakMiB:    after.peakMiB,
		otherCores: (after.others() - before.others()).Seconds() / seconds,
	}, nil
}

// converse asks over one connection, again and again until end, and at least
// once.
func (p *plan) converse(end time.Time) (all []answered, err error) {
	c, err := net.Dial("tcp", p.peer.address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := bufio.NewReaderSize(c, 32<<10)
	request := p.request
	if p.scenario.fresh {
		request = bytes.Clone(request)
	}
	var body bytes.Buffer
	for {
		if p.scenario.fresh {
			stamp(request, p.asked.Add(1))
		}
		asked := time.Now()
		if err := c.SetDeadline(asked.Add(timeout)); err != nil {
			return nil, err
		}
		if err := p.ask(c, request, r, &body); err != nil {
			return nil, err
		}
		now := time.Now()
		all = append(all, answered{now, now.Sub(asked)})
		if now.After(end) {
			return all, nil
		}
	}
}

// ask is one request and its whole answer, which body holds for the check.
func (p *plan) ask(c net.Conn, request []byte, r *bufio.Reader, body *bytes.Buffer) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	body.Reset()
	if _, err := body.ReadFrom(res.Body); err != nil {
		return err
	}
	return p.scenario.check(res, body.Bytes())
}
