// Command vllmsim plays a vLLM server that serves DeepSeek-OCR, on a machine
// without a GPU. It is not DeepSeek-OCR: it reads pages with Tesseract or
// invents their text.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"ocrmux/backends/sim"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "vllmsim:", err)
		os.Exit(1)
	}
}

// stopGrace is what work in progress gets after SIGTERM, before it is cut.
const stopGrace = 2 * time.Second

func run(args []string) error {
	listen, cfg, err := configure(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	l, err := net.Listen("tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another program; stop it or choose another address with -listen", listen)
	} else if err != nil {
		return err
	}
	server := sim.New(cfg)
	slog.Info("vllmsim listens: a stand-in for vLLM, not DeepSeek-OCR", "address", l.Addr().String(), "model", cfg.Model)

	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop() // a second signal ends the process at once
	grace, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	err = server.Shutdown(grace)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	slog.Info("vllmsim has stopped")
	return err
}
