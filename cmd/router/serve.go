package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"ocrmux/auth"
)

// serve runs the router until it is told to stop.
func serve(args []string, stderr io.Writer) error {
	c, err := configFlag(flag.NewFlagSet("router serve", flag.ContinueOnError), args, stderr)
	if err != nil {
		return err
	}
	log, level := newLogger(c.Log, stderr)
	boundMemory(c, os.LookupEnv, log)
	r, err := build(c, c.durable(), log, level)
	if err != nil {
		return err
	}
	main, err := listen("http.listen", c.HTTP.Listen)
	if err != nil {
		return err
	}
	defer main.Close()
	admin, err := listen("admin.listen", c.Admin.Listen)
	if err != nil {
		return err
	}
	defer admin.Close()
	for _, warning := range append(oldVariablesSet(os.LookupEnv, c.asked), warnings(c)...) {
		log.Warn(warning)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	defer signal.Stop(signals)
	log.Info("router is serving", "version", buildVersion(), "address", main.Addr().String(),
		"tls", r.certificate != nil, "admin", admin.Addr().String())
	return r.run(main, admin, signals)
}

// run works until the first signal to stop, then stops in order: the gateway,
// with all that is in progress, then the loops below it, then the operators'
// listener. A part that fails stops the rest in the same way. SIGHUP reloads.
func (r *rooms) run(main, admin net.Listener, signals <-chan os.Signal) error {
	operators, err := r.operators(r.config())
	if err != nil {
		return err
	}
	loops, stopLoops := context.WithCancel(context.Background())
	defer stopLoops()
	group, ctx := errgroup.WithContext(loops)
	wait := r.fleet.run(ctx)
	group.Go(func() error { wait(); return nil })
	group.Go(func() error { return r.gate.Run(ctx) })
	group.Go(func() error { return r.ledger.Run(ctx) }) // to the end: what was asked last is written down too
	group.Go(func() error { return r.results.run(ctx) })
	group.Go(func() error { return r.followHeap(ctx) })
	group.Go(func() error { return notClosed(operators.Serve(admin)) })
	group.Go(func() error { return r.serve(main) })
	group.Go(func() error {
		following, stopFollowing := context.WithCancel(ctx)
		defer stopFollowing()
		hangups := make(chan struct{}, 1)
		group.Go(func() error { r.follow(following, hangups); return nil })
		if s := untilStop(ctx, signals, hangups); s != nil {
			r.log.Info("stopping: work in progress may finish", "signal", s.String(), "for", r.config().HTTP.Drain.String())
		}
		stopFollowing()
		r.reloads.over.Store(true)
		err := r.stop(signals)
		stopLoops()
		return errors.Join(err, closeOperators(operators))
	})
	err = group.Wait()
	if err == nil {
		r.log.Info("stopped")
	}
	return err
}

// untilStop passes SIGHUP on and returns the first signal to stop, or nil when
// ctx ends. Of hangups that come faster than reloads, one is left.
func untilStop(ctx context.Context, signals <-chan os.Signal, hangups chan<- struct{}) os.Signal {
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGHUP {
				return s
			}
			select {
			case hangups <- struct{}{}:
			default:
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *rooms) serve(main net.Listener) error {
	if r.certificate != nil {
		return r.gateway.Serve(main, r.certificate.config())
	}
	return r.gateway.Serve(main, nil)
}

// stop drains the gateway. A second signal, or the end of the time, cuts what
// is left, which is an error: somebody's work was lost.
func (r *rooms) stop(signals <-chan os.Signal) error {
	c := r.config()
	ctx, cancel := context.WithTimeoutCause(context.Background(), c.HTTP.LameDuck+c.HTTP.Drain,
		fmt.Errorf("work was still in progress %s after the signal to stop, and is cut", c.HTTP.Drain))
	defer cancel()
	ctx, cut := context.WithCancelCause(ctx)
	var listener sync.WaitGroup
	listener.Go(func() {
		if untilStop(ctx, signals, nil) != nil {
			cut(errors.New("a second signal: work in progress is cut"))
		}
	})
	err := r.gateway.Shutdown(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cut(nil)
	listener.Wait()
	return err
}

// closeOperators lets a scrape that is under way end, a profile not.
func closeOperators(s *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.Shutdown(ctx) == nil {
		return nil
	}
	return s.Close()
}

func notClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listen opens an address; the usual reason why it cannot is told as such.
func listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: another program is listening on %s already", key, address)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

// newLogger writes to w, from a level on that can be changed.
func newLogger(c Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.level())
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options)), level
	}
	return slog.New(slog.NewJSONHandler(w, options)), level
}

// level is the least that is logged; validate has seen to it that the word is known.
func (c Log) level() (level slog.Level) {
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		panic(err)
	}
	return level
}

// warnings are what is allowed and may not be meant.
func warnings(c *Config) []string {
	var found []string
	if !loopback(c.Admin.Listen) && c.Admin.TokenFile.Name == "" {
		found = append(found, fmt.Sprintf("admin.listen: %s can be reached from elsewhere and there is no admin.token_file: "+
			"/metrics is open to everybody, /admin/ and /debug/pprof/ are switched off", c.Admin.Listen))
	}
	if loopback(c.HTTP.Listen) {
		return found
	}
	file, err := auth.Load(c.file(c.Keys.File))
	if err != nil {
		return found // build has said so
	}
	for _, k := range file.Keys {
		if k.LoopbackOnly && !k.Disabled {
			found = append(found, fmt.Sprintf("keys.file: key %s works from this machine only, and %s can be reached from elsewhere: "+
				"behind a proxy on this machine everybody has it; delete it", k.ID, c.HTTP.Listen))
		}
	}
	return found
}
