package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// watchInterval is how often Run reads the key file: a revoked key stops working
// within a second.
const watchInterval = 500 * time.Millisecond

// Config says where the keys are.
type Config struct {
	// KeyFile is the path of keys.yaml.
	KeyFile string
	// Pepper is the secret under which the file's hashes were made, at least
	// MinPepperBytes long.
	Pepper []byte
}

// Deps is what a Gate works with. Each may be left out.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Store counts the limits; a MemoryStore where nil.
	Store Store
	// Now is the clock; time.Now where nil.
	Now func() time.Time
	// Month says what a tenant has used of the present month before this gate
	// was made, for its quota; nothing where nil.
	Month func(tenant string) (pages, tokens int64)
}

// Gate knows who may do what. Its methods may be called at the same time.
type Gate struct {
	path      string
	hashers   *hashers
	logger    *slog.Logger
	metrics   *metrics
	store     Store
	now       func() time.Time
	throttle  *Throttle
	addresses *addresses
	month     func(tenant string) (pages, tokens int64)
	tickets   sync.Pool // of *ticket
	ceilings  atomic.Pointer[ceilings]

	current atomic.Pointer[snapshot]
	broken  atomic.Pointer[error] // why the file as it is now is not the one in use; nil where it is

	reading sync.Mutex
	seen    [sha256.Size]byte // guarded by reading: digest of the file when it was last read
}

// New returns a gate with the key file's keys. A file that cannot be used is an
// error here, and only later a reason to stay with what was there.
func New(cfg Config, deps Deps) (*Gate, error) {
	hashers, err := newHashers(cfg.Pepper)
	if err != nil {
		return nil, err
	}
	g := &Gate{
		path:      cfg.KeyFile,
		hashers:   hashers,
		logger:    deps.Logger,
		store:     deps.Store,
		now:       deps.Now,
		month:     deps.Month,
		throttle:  NewThrottle(wrongKeys, throttledAddresses),
		addresses: newAddresses(),
		tickets:   sync.Pool{New: func() any { return new(ticket) }},
	}
	if g.logger == nil {
		g.logger = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	if g.store == nil {
		g.store = NewMemoryStore(g.now)
	}
	if g.month == nil {
		g.month = func(string) (int64, int64) { return 0, 0 }
	}
	g.SetCeilings(Ceilings{})
	g.metrics = newMetrics()
	if err := g.reload(); err != nil {
		return nil, err
	}
	g.metrics.register(deps.Registerer, g)
	return g, nil
}

// Run follows changes of the key file until ctx ends, and returns nil then.
func (g *Gate) Run(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			g.Follow()
		}
	}
}

// KeyFileError returns why the key file as it is now is not the one in use, or nil.
func (g *Gate) KeyFileError() error {
	if err := g.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// SetCeilings puts the limits of routes and of the whole in force. What is in
// progress stays counted.
func (g *Gate) SetCeilings(c Ceilings) {
	g.reading.Lock()
	defer g.reading.Unlock()
	g.ceilings.Store(newCeilings(c, g.ceilings.Load()))
}

// Follow reads the file once, as Run does by itself, and tells a change for the
// worse or the better.
func (g *Gate) Follow() {
	g.reading.Lock()
	defer g.reading.Unlock()
	before, err := g.KeyFileError(), g.reload()
	switch {
	case err == nil && before != nil:
		g.logger.Info("key file is in order again")
	case err != nil && (before == nil || before.Error() != err.Error()):
		g.logger.Error("key file cannot be used, the last good one stays in force", slog.Any("error", err))
	}
}

// reload is called by New, or with reading held. It reads the file, and puts it in force where it has changed and is good.
func (g *Gate) reload() (err error) {
	defer func() {
		if err != nil {
			g.broken.Store(&err)
		} else {
			g.broken.Store(nil)
		}
	}()
	content, err := readKeyFile(g.path)
	if err != nil {
		g.seen = [sha256.Size]byte{} // whatever comes next is a change
		return err
	}
	digest := sha256.Sum256(content)
	if digest == g.seen {
		return g.KeyFileError()
	}
	g.seen = digest
	file, err := parseKeyFile(g.path, content)
	if err != nil {
		return err
	}
	old := g.current.Load()
	var accounts map[string]*account
	if old != nil {
		accounts = old.accounts
	}
	accounts = g.metrics.accounts(file, accounts, g.month, g.now())
	g.current.Store(newSnapshot(file, accounts, old))
	g.logger.Info("key file is in force", slog.Int("tenants", len(file.Tenants)), slog.Int("keys", len(file.Keys)))
	return nil
}

// Identify returns whose credential this is: the text of a key, without any
// scheme before it. peer is the client's address as the caller trusts it: a
// proxy on this machine that is not known as one makes every client local. The
// error is ErrNoKey for an empty credential, ErrBadKey, or *Throttled. A good
// key is never refused for what else came from its address.
func (g *Gate) Identify(credential string, peer netip.Addr) (*Identity, error) {
	if credential == "" {
		g.metrics.failed(reasonMissing)
		return nil, ErrNoKey
	}
	now := g.now()
	why := reasonMalformed
	if id, sum, err := g.hashers.parse(credential); err == nil {
		var identity *Identity
		if identity, why = g.current.Load().verify(id, sum, peer, now); identity != nil {
			return identity, nil
		}
	}
	g.metrics.failed(why)
	if wait := g.throttle.Wrong(peer, now); wait > 0 {
		g.metrics.throttled.Inc()
		return nil, &Throttled{RetryAfter: wait}
	}
	return nil, ErrBadKey
}

// Anonymous returns the identity of a caller without a key, whose limits count
// for its address, or ErrNoKey where the anonymous tenant is not configured. It
// is not for a caller with a wrong key.
func (g *Gate) Anonymous(peer netip.Addr) (*Identity, error) {
	anyone := g.current.Load().anonymous
	if anyone == nil {
		g.metrics.failed(reasonMissing)
		return nil, ErrNoKey
	}
	return g.addresses.identity(canonical(peer), anyone, g.now()), nil
}
