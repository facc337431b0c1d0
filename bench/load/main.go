// Command load measures what two proxies in front of the same backends cost,
// the floor and the router, with one scenario, and prints a row of the table
// that bench/run makes. What the floor is, and that it is no proxy where the
// router answers from its cache, is bench/run's choice.
//
// A round measures both of them, one right after the other and in turns first,
// so that whatever else the machine does meets both. What is compared is
// compared within a round; the row shows the medians. The load is a closed
// loop: every connection asks again as soon as it is answered.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

func main() {
	var floor, router peer
	flag.Var(&floor, "floor", "`PID@HOST:PORT` of the floor")
	flag.Var(&router, "router", "`PID@HOST:PORT` of the router")
	keyFile := flag.String("key-file", "", "file with the key that requests carry")
	name := flag.String("scenario", "", "one of "+strings.Join(names(), ", "))
	rounds := flag.Int("rounds", 4, "rounds")
	window := flag.Duration("window", 3*time.Second, "measured time of each proxy in a round; a second of warm-up comes before")
	header := flag.Bool("header", false, "print the table's header and nothing else")
	flag.Parse()
	if *header {
		fmt.Print(tableHeader)
		return
	}
	key, err := os.ReadFile(*keyFile)
	if err == nil {
		err = run(*name, strings.TrimSpace(string(key)), [2]peer{floor, router}, *rounds, *window)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run prints the row of one scenario.
func run(name, key string, peers [2]peer, rounds int, window time.Duration) error {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	if i < 0 || rounds < 1 {
		return fmt.Errorf("%d rounds of scenario %q: want one round and one of %s", rounds, name, strings.Join(names(), ", "))
	}
	plans, err := prepare(scenarios[i], key, peers)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if err := p.waitUntilRight(10 * time.Second); err != nil {
			return err
		}
	}
	var measured []round
	for n := range rounds {
		var r round
		for turn := range plans {
			which := (n + turn) % len(plans)
			if r[which], err = plans[which].measure(window); err != nil {
				return err
			}
		}
		measured = append(measured, r)
	}
	fmt.Print(row(name, measured))
	return nil
}

// prepare makes the plans of both peers. Only the router has a cache, so only
// its answers are asked where they come from.
func prepare(s scenario, key string, peers [2]peer) (plans [2]plan, err error) {
	for i, p := range peers {
		plans[i] = plan{peer: p, scenario: s, asked: new(atomic.Uint64)}
		if plans[i].request, err = s.request(p.address, key); err != nil {
			return plans, err
		}
	}
	plans[0].scenario.cache = ""
	return plans, nil
}

// peer is a proxy that is measured, and implements flag.Value.
type peer struct {
	pid     int
	address string
}

func (p *peer) String() string { return fmt.Sprintf("%d@%s", p.pid, p.address) }

func (p *peer) Set(s string) (err error) {
	pid, address, ok := strings.Cut(s, "@")
	if !ok {
		return errors.New("not PID@HOST:PORT")
	}
	p.pid, err = strconv.Atoi(pid)
	p.address = address
	return err
}
