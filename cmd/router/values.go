package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Size is a number of bytes, written as 512, 16KiB, 32MiB or 1GiB.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// UnmarshalText reads a size; a number without a unit counts bytes.
func (s *Size) UnmarshalText(text []byte) error {
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), unit.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || Size(n) > (1<<62)/unit.bytes {
			break
		}
		*s = Size(n) * unit.bytes
		return nil
	}
	return errors.New("is not a size such as 512KiB, 32MiB or 1GiB")
}

// MarshalText writes a size in the largest unit that leaves no remainder.
func (s Size) MarshalText() ([]byte, error) {
	for _, unit := range sizeUnits {
		if s != 0 && s%unit.bytes == 0 {
			return fmt.Appendf(nil, "%d%s", s/unit.bytes, unit.name), nil
		}
	}
	return []byte("0"), nil
}

// Share is a part of something, written as full, free or a number between 0 and 1.
type Share float64

// UnmarshalText reads a share.
func (s *Share) UnmarshalText(text []byte) error {
	switch string(text) {
	case "full":
		*s = 1
		return nil
	case "free":
		*s = 0
		return nil
	}
	share, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(share >= 0 && share <= 1) { // NaN is neither
		return errors.New("is not full, free or a number from 0 to 1")
	}
	*s = Share(share)
	return nil
}

// MarshalText writes a share as it is read.
func (s Share) MarshalText() ([]byte, error) {
	switch s {
	case 0:
		return []byte("free"), nil
	case 1:
		return []byte("full"), nil
	}
	return strconv.AppendFloat(nil, float64(s), 'g', -1, 64), nil
}

// Secret is a value that is never shown.
type Secret string

const hidden = "(hidden)"

// MarshalText hides the secret from whatever prints the configuration.
func (s Secret) MarshalText() ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	return []byte(hidden), nil
}

// String hides the secret from fmt and log/slog.
func (s Secret) String() string {
	text, _ := s.MarshalText()
	return string(text)
}

// SecretFile is a secret that stands in a file of its own. The configuration
// holds and shows the file's name; the content is read with the configuration.
type SecretFile struct {
	Name  string
	value Secret
}

// maxSecretBytes bounds what is read of a file that should hold one line.
const maxSecretBytes = 64 << 10

// MarshalText shows the file's name only.
func (f SecretFile) MarshalText() ([]byte, error) { return []byte(f.Name), nil }

func (d *decoder) secretFile(n *yaml.Node, key string, f *SecretFile) {
	d.text(n, key, func(name []byte) error {
		f.Name = string(name)
		if f.Name == "" {
			return nil
		}
		return f.read(resolve(d.dir, f.Name))
	})
}

func (f *SecretFile) read(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	switch content = bytes.TrimSpace(content); {
	case err != nil:
		return fmt.Errorf("cannot be read: %w", err)
	case len(content) == 0:
		return errors.New("is an empty file")
	case len(content) > maxSecretBytes:
		return errors.New("is too large to be a secret")
	}
	f.value = Secret(content)
	return nil
}

// resolve finds a file that the configuration names: relative to the
// directory of the configuration, wherever the router was started.
func resolve(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

var (
	variable     = regexp.MustCompile(`\$?\$\{([^}]*)(\}?)`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// expand replaces every ${NAME} in text by the environment's value. $${ stands
// for ${ itself. A variable that is not set is an error: an empty one has to
// be meant.
func expand(text string, env func(string) (string, bool)) (string, error) {
	var errs []error
	expanded := variable.ReplaceAllStringFunc(text, func(found string) string {
		if strings.HasPrefix(found, "$$") {
			return found[1:]
		}
		part := variable.FindStringSubmatch(found)
		if part[2] == "" || !variableName.MatchString(part[1]) {
			errs = append(errs, fmt.Errorf("%s is not of the form ${NAME}; a literal ${ is written $${", found))
			return ""
		}
		value, ok := env(part[1])
		if !ok {
			errs = append(errs, fmt.Errorf("the environment variable %s is not set", part[1]))
		}
		return value
	})
	return expanded, errors.Join(errs...)
}

// Network is a range of addresses, written as 10.0.0.0/8 or as one address.
type Network struct{ netip.Prefix }

// UnmarshalText reads a range in CIDR form or a single address.
func (n *Network) UnmarshalText(text []byte) error {
	if addr, err := netip.ParseAddr(string(text)); err == nil {
		n.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		return errors.New("is not a network such as 10.0.0.0/8 or an address")
	}
	n.Prefix = prefix.Masked()
	return nil
}
