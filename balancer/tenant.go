package balancer

// tenants are those of which something waits, or that were served lately.
type tenants struct {
	byName map[string]*tenant
	spare  []*tenant // forgotten ones, for those to come
}

// tenant is who tickets belong to.
type tenant struct {
	name   string
	weight float64 // of the ticket that came last
	flows  [classes]flow
	all    *tenants
}

// named returns a tenant, which is a new one where nothing is known of it.
func (ts *tenants) named(name string) *tenant {
	tn := ts.byName[name]
	if tn != nil {
		return tn
	}
	if last := len(ts.spare) - 1; last >= 0 {
		tn, ts.spare = ts.spare[last], ts.spare[:last]
	} else {
		tn = &tenant{all: ts}
		for c := range tn.flows {
			tn.flows[c].tenant = tn
		}
	}
	tn.name = name
	ts.byName[name] = tn
	return tn
}

// forget drops a tenant of which no schedule knows any more.
func (tn *tenant) forget() {
	for c := range tn.flows {
		if tn.flows[c].placed {
			return
		}
	}
	delete(tn.all.byName, tn.name)
	tn.all.spare = append(tn.all.spare, tn)
}

// waiting counts the tickets that wait for their first start.
func (tn *tenant) waiting() (n int) {
	for c := range tn.flows {
		n += tn.flows[c].line.n
	}
	return n
}

// load is how much of the queue the tenant takes for its weight.
func (tn *tenant) load() float64 { return float64(tn.waiting()) / tn.weight }

// newest is the ticket that came last in the least urgent class.
func (tn *tenant) newest() *Ticket {
	for c := classes; c > 0; c-- {
		if t := tn.flows[c-1].line.tail; t != nil {
			return t
		}
	}
	return nil
}
