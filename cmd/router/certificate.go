package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is the main listener's, read again when one of its files
// changes, so that a renewed one is used without a restart. A new pair that
// cannot be read is logged and the old one stays.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	stamp   [2]time.Time // when the files were changed
	checked time.Time
}

// recheckAfter bounds how often the files are looked at, however many
// handshakes there are.
const recheckAfter = time.Second

// newCertificate reads the files, and is an error where they are no pair.
func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	c.checked = time.Now()
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	return c, nil
}

// config serves HTTP/1.1 only: fasthttp knows nothing else.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get}
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= recheckAfter {
		c.checked = now
		if err := c.read(); err != nil {
			c.log.Error("the new certificate cannot be used, the old one stays", "error", err)
		}
	}
	return c.pair, nil
}

// read loads the pair where a file is newer than what is loaded. The stamp is
// kept only of a good pair: files that are being written are tried again.
func (c *certificate) read() error {
	var stamp [2]time.Time
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		stamp[i] = info.ModTime()
	}
	if c.pair != nil && stamp == c.stamp {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair, c.stamp = &pair, stamp
	return nil
}
