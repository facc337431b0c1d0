package completions

// InProgress is how many flights may be joined now.
func (s *Service) InProgress() int {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	return len(s.flights.byKey)
}
