//go:build race

package auth_test

// raceEnabled says that the detector makes everything about ten times slower.
const raceEnabled = true
