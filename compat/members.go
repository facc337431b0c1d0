package compat

// Members reads a JSON object that is no request of OpenAI's: its members in
// order, their values as raw JSON, which alias data. It accepts what Parse
// accepts as JSON, and the error says what is wrong without quoting it.
func Members(data []byte) ([]Member, error) {
	if len(data) > 1<<30 {
		return nil, TooLarge(1 << 30)
	}
	s := scanner{data: data, most: maxMembers}
	var members []Member
	err := s.document(func() error {
		return s.object(func(name []byte) error {
			m, start := Member{Name: string(name)}, s.pos
			err := s.skip()
			m.Value = data[start:s.pos]
			members = append(members, m)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}
