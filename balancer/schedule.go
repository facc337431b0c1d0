package balancer

import (
	"slices"
	"sort"
)

// schedule shares the starts of one class among its tenants in proportion to
// their weights, by start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996)
// with one account for each tenant. Every start is charged to the tenant's
// account as cost by weight, and the tenant whose account stands lowest comes
// next.
//
// Who comes with nothing charged is put at the clock, which is the account of
// whom was served last: nobody saves up turns by staying away, and nobody is
// behind those who have been there long. So a newcomer waits for the turns of
// the tenants that wait with it, one each, and not for their queues.
type schedule struct {
	flows   []*flow // the next first
	clock   float64
	waiting int
}

// flow is what is known of one tenant in one class: its waiting tickets in the
// order in which they came, and its account. It is forgotten when nothing of it
// waits and the clock has passed its account, which is then worth nothing, or
// when nothing waits in the class at all.
type flow struct {
	tenant  *tenant
	line    line
	account float64
	placed  bool // in the schedule
}

// maxFlows is how many flows a schedule holds before it forgets those early of
// which nothing waits.
const maxFlows = 4096

// enter notes that a ticket has joined f.
func (s *schedule) enter(f *flow) {
	s.waiting++
	if !f.placed {
		f.account = s.clock
		s.place(f)
	}
}

func (s *schedule) place(f *flow) {
	i := sort.Search(len(s.flows), func(i int) bool { return s.flows[i].account > f.account })
	s.flows = slices.Insert(s.flows, i, f)
	f.placed = true
}

// serve charges a start to the flow at index i. Those before it found no room
// for their models: they wait on, but save up nothing by it.
func (s *schedule) serve(i int, charge float64) {
	f := s.flows[i]
	s.clock = f.account
	kept := s.flows[:0]
	for _, before := range s.flows[:i] {
		if before.line.n == 0 {
			before.forget()
			continue
		}
		before.account = s.clock
		kept = append(kept, before)
	}
	s.flows = append(kept, s.flows[i+1:]...)
	f.account += charge
	s.place(f)
}

// leave notes that a ticket has left f.
func (s *schedule) leave(f *flow) {
	s.waiting--
	switch {
	case s.waiting == 0:
		for _, f := range s.flows {
			f.forget()
		}
		s.flows, s.clock = s.flows[:0], 0
	case f.line.n == 0 && (f.account <= s.clock || len(s.flows) > maxFlows):
		i := slices.Index(s.flows, f)
		s.flows = slices.Delete(s.flows, i, i+1)
		f.forget()
	}
}

func (f *flow) forget() {
	f.placed = false
	f.tenant.forget()
}
