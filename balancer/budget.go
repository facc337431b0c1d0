package balancer

// grantAttempt decides whether a ticket whose attempt ended too early gets
// another one, and notes it. A backend that was lost or fell silent is not the
// request's fault: the first such move is free. Everything else, and a second
// loss, is a retry: one for each ticket, and within the budget, so that failing
// backends do not double the load of the others.
func (b *Balancer) grantAttempt(t *Ticket, lost bool) bool {
	switch {
	case lost && !t.moved:
		t.moved = true
		return true
	case t.retried || b.retrying >= b.retryBudget():
		return false
	}
	t.retried = true
	b.retrying++
	return true
}

// retryBudget is how many tickets may be on their retry at once.
func (b *Balancer) retryBudget() int {
	return max(b.cfg.RetryMin, int(b.cfg.RetryShare*float64(b.inProgress)))
}
