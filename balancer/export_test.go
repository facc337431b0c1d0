package balancer

// Remembered is how many tenants something is known of.
func (b *Balancer) Remembered() int { return len(b.queue.tenants.byName) }

const MaxFlows = maxFlows
