package gateway

import (
	"sync"
	"testing"

	"ocrmux/completions"
)

func applied(t testing.TB, s *Server) <-chan struct{} {
	service, err := completions.New(completions.Config{}, completions.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Apply(Config{}, service, nil, nil)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestSetup_EndsWithItsLastUserAndNotBeforeTheOnesBeforeIt(t *testing.T) {
	var s Server
	applied(t, &s)
	first := s.enter()
	if applied(t, &s) != first.ended {
		t.Fatal("Apply tells of another end than that of what it replaced")
	}
	second := s.enter()
	third := applied(t, &s)
	if second.leave(); isClosed(first.ended) || isClosed(third) {
		t.Fatal("it ended while somebody used one before it")
	}
	if first.leave(); !isClosed(first.ended) || !isClosed(second.ended) {
		t.Fatal("nobody uses it any more, and it has not ended")
	}
	if s.enter().leave(); isClosed(s.setup.Load().ended) {
		t.Error("the one in force has ended")
	}
}

func TestSetup_IsNeverEnteredOnceItHasEnded(t *testing.T) {
	var s Server
	applied(t, &s)
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for !isClosed(stop) {
				c := s.enter()
				if isClosed(c.ended) {
					t.Error("entered what has ended")
				}
				c.leave()
			}
		})
	}
	for range 2000 {
		<-applied(t, &s) // also: each one does end
	}
	close(stop)
	users.Wait()
	if n := s.setup.Load().users.Load(); n != 1 {
		t.Errorf("%d users are left, beside the server", n-1)
	}
}

func BenchmarkSetup_EnterAndLeave(b *testing.B) {
	var s Server
	applied(b, &s)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			s.enter().leave()
		}
	})
}
