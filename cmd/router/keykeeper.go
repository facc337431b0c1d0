package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"ocrmux/auth"
)

// keeperFlags adds the flags that say who keeps the keys, and parses all.
func keeperFlags(set *flag.FlagSet, args []string, stderr io.Writer) (keyKeeper, error) {
	connect := keeperOf(set)
	if err := flags(set, args, stderr); err != nil {
		return nil, err
	}
	return connect()
}

// keeperAndID is keeperFlags for a command that is told a key's id, before or
// after the flags.
func keeperAndID(set *flag.FlagSet, args []string, stderr io.Writer) (id string, keeper keyKeeper, err error) {
	connect, name := keeperOf(set), strings.TrimPrefix(set.Name(), "router ")
	set.SetOutput(stderr)
	err = set.Parse(args)
	if err == nil && set.NArg() > 0 {
		id = set.Arg(0)
		err = set.Parse(set.Args()[1:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return "", nil, err
	case err != nil:
		return "", nil, usageError{err}
	case id == "":
		return "", nil, usageError{fmt.Errorf("%s: say the id of the key; router keys list has it", name)}
	case set.NArg() > 0:
		return "", nil, usageError{fmt.Errorf("%s: one id at a time", name)}
	case strings.HasPrefix(id, "sk-"): // not repeated here
		return "", nil, usageError{fmt.Errorf("%s: give the key's id, which is its part after sk-ocr-, and never the key", name)}
	}
	keeper, err = connect()
	return id, keeper, err
}

// keeperOf adds the flags that say who keeps the keys. What it returns is for
// after they are parsed.
func keeperOf(set *flag.FlagSet) func() (keyKeeper, error) {
	config := set.String("config", "config.yaml", "the configuration `file`")
	admin := set.String("admin", "", "the `URL` of a running router's operators' listener, to ask in place of the key file")
	tokenFile := set.String("token-file", "", "the `file` with the token for -admin")
	return func() (keyKeeper, error) {
		given := map[string]bool{}
		set.Visit(func(f *flag.Flag) { given[f.Name] = true })
		switch {
		case *admin != "" && given["config"]:
			return nil, usageError{errors.New("-admin asks a router and -config works on a file; give one of them")}
		case *admin != "":
			return newRemote(*admin, *tokenFile, os.LookupEnv)
		case given["token-file"]:
			return nil, usageError{errors.New("-token-file is for -admin")}
		}
		c, err := load(*config, os.LookupEnv)
		if err != nil {
			return nil, err
		}
		ring, err := auth.NewKeyRing(c.file(c.Keys.File), []byte(c.Keys.PepperFile.value))
		return keyFile{ring}, err
	}
}

// keyFile keeps keys in the file of this machine's configuration.
type keyFile struct{ ring *auth.KeyRing }

func (f keyFile) list(tenant string) ([]auth.PublicKey, error) {
	file, err := f.ring.File()
	if err != nil {
		return nil, err
	}
	if tenant != "" && !slices.ContainsFunc(file.Tenants, func(t auth.Tenant) bool { return t.Name == tenant }) {
		return nil, auth.ErrUnknownTenant
	}
	keys := []auth.PublicKey{}
	for _, k := range file.Keys {
		if tenant == "" || k.Tenant == tenant {
			keys = append(keys, k.Public(time.Now()))
		}
	}
	return keys, nil
}

func (f keyFile) show(id string) (keyAndTenant, error) {
	file, err := f.ring.File()
	if err != nil {
		return keyAndTenant{}, err
	}
	for _, k := range file.Keys {
		if k.ID == id {
			tenant := slices.IndexFunc(file.Tenants, func(t auth.Tenant) bool { return t.Name == k.Tenant })
			return keyAndTenant{k.Public(time.Now()), file.Tenants[tenant]}, nil // no file loads with a key of nobody
		}
	}
	return keyAndTenant{}, auth.ErrUnknownKey
}

func (f keyFile) create(o auth.KeyOptions) (newKey, error) {
	secret, entry, err := f.ring.Create(o)
	return newKey{Key: entry.Public(time.Now()), Secret: secret}, byHand(err)
}

func (f keyFile) rotate(id string, grace time.Duration) (newKey, error) {
	secret, entry, old, err := f.ring.Rotate(id, grace)
	now := time.Now()
	return newKey{Key: entry.Public(now), Secret: secret, Old: old.Public(now)}, byHand(err)
}

func (f keyFile) disable(id string) (auth.PublicKey, error) { return public(f.ring.Disable(id)) }

func (f keyFile) enable(id string) (auth.PublicKey, error) { return public(f.ring.Enable(id)) }

func (f keyFile) delete(id string) (auth.PublicKey, error) { return public(f.ring.Delete(id)) }

func public(entry auth.KeyEntry, err error) (auth.PublicKey, error) {
	return entry.Public(time.Now()), byHand(err)
}

// byHand adds to an error what a person can do instead.
func byHand(err error) error {
	var notWritten *auth.NotWrittenError
	if errors.As(err, &notWritten) {
		return fmt.Errorf("%w; do it by hand: %s", err, notWritten.Help())
	}
	return err
}
