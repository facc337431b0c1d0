package gateway

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"ocrmux/compat"
	"ocrmux/fetch"
)

// imageMemory bounds the bytes of fetched images that are held at once. It is a
// quarter of the memory for bodies, set apart from it: requests that hold their
// bodies and wait for room for their images never wait for each other's bodies.
type imageMemory struct {
	size int64
	free *semaphore.Weighted
	held *atomic.Int64 // by this and earlier ones
}

func newImageMemory(size int64, held *atomic.Int64) *imageMemory {
	return &imageMemory{size: size, free: semaphore.NewWeighted(size), held: held}
}

// take waits for n bytes until ctx ends. More than there is counts as all there is.
func (m *imageMemory) take(ctx context.Context, n int64) (int64, error) {
	n = min(n, m.size)
	if err := m.free.Acquire(ctx, n); err != nil {
		return 0, err
	}
	m.held.Add(n)
	return n, nil
}

func (m *imageMemory) give(n int64) {
	if n > 0 {
		m.held.Add(-n)
		m.free.Release(n)
	}
}

// fetchImages gets the images that a request names by URL: its backend is sent
// bytes and fetches nothing. Their memory is the exchange's until its end.
func (s *Server) fetchImages(x *exchange, client *compat.Request) error {
	if !slices.ContainsFunc(client.Images, func(image compat.Image) bool { return image.URL != "" }) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(x.ctx, x.left(x.setup.cfg.OpenAI.Timeout), errDeadline)
	defer cancel()
	for i := range client.Images {
		image := &client.Images[i]
		if image.URL == "" {
			continue
		}
		began := time.Now()
		raw, err := s.fetchImage(ctx, x, image.URL)
		x.upload += time.Since(began) // the time of whoever has the image, not ours
		if err != nil {
			return notFetched(image.Param, err)
		}
		if err := client.Embed(i, raw); err != nil {
			return err
		}
	}
	return nil
}

// fetchImage holds memory for as much as may come, and then for what came.
func (s *Server) fetchImage(ctx context.Context, x *exchange, url string) ([]byte, error) {
	var held int64
	raw, err := x.setup.fetcher.Get(ctx, url, func(n int64) (err error) {
		queue, cancel := context.WithTimeoutCause(ctx, x.setup.cfg.OpenAI.Queue, errNoRoom)
		defer cancel()
		if held, err = x.setup.images.take(queue, n); err != nil {
			return context.Cause(queue)
		}
		return nil
	})
	keep := min(held, int64(len(raw)))
	x.setup.images.give(held - keep)
	x.fetched += keep
	return raw, err
}

// notFetched tells a client why its image could not be had: something about the
// URL that it sent, or a public server's answer, and nothing of our network.
func notFetched(param string, err error) error {
	switch {
	case errors.Is(err, fetch.ErrTooLarge):
		return compat.Invalid(param, "image_too_large", "The image at this URL has more bytes than are fetched.")
	case errors.Is(err, fetch.ErrRefused), errors.Is(err, fetch.ErrUnreachable), errors.Is(err, fetch.ErrSlow):
		return compat.Invalid(param, "invalid_image_url", "Invalid image URL: "+err.Error()+".")
	}
	return err
}
