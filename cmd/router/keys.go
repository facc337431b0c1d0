package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"ocrmux/auth"
)

const keysUsage = `router keys works on the key file that config.yaml names. A running router
notices the change by itself.

  router keys create -tenant NAME [-expires 2027-01-31] [-loopback-only] [-note TEXT]
                      make a key for a tenant of the file and print it, once
  router keys list    print the keys: id, tenant, state

Both take -config config.yaml. A key is taken away by "disabled: true" in its
entry, or by deleting the entry.
`

func keys(args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return usageError{errors.New("keys: say create or list; router keys help explains")}
	}
	switch args[0] {
	case "create":
		return createKey(args[1:], stdout, stderr)
	case "list":
		return listKeys(args[1:], stdout, stderr)
	case "help", "-h", "-help", "--help":
		_, err := fmt.Fprint(stdout, keysUsage)
		return err
	}
	return usageError{fmt.Errorf("keys: there is no %q; router keys help explains", args[0])}
}

// createKey prints the key alone on stdout, so that a script can take it, and
// all about it on stderr.
func createKey(args []string, stdout, stderr io.Writer) error {
	var opts auth.KeyOptions
	set := flag.NewFlagSet("router keys create", flag.ContinueOnError)
	set.StringVar(&opts.Tenant, "tenant", "", "the `name` of the tenant that gets the key")
	set.BoolVar(&opts.LoopbackOnly, "loopback-only", false, "the key works from this machine only")
	set.StringVar(&opts.Note, "note", "", "a `text` for whoever reads the key file")
	set.Func("expires", "the `date` (UTC, as 2027-01-31) from which the key is refused", func(text string) (err error) {
		opts.Expires, err = time.Parse(time.DateOnly, text)
		return err
	})
	c, err := configFlag(set, args, stderr)
	if err != nil {
		return err
	}
	if opts.Tenant == "" {
		return usageError{errors.New("keys create: -tenant is needed")}
	}
	ring, err := auth.NewKeyRing(c.file(c.Keys.File), []byte(c.Keys.PepperFile.value))
	if err != nil {
		return err
	}
	key, entry, err := ring.Create(opts)
	if key != "" {
		fmt.Fprintln(stdout, key)
		fmt.Fprintf(stderr, "key %s of tenant %s; it is shown this once and kept nowhere\n", entry.ID, entry.Tenant)
	}
	var notWritten *auth.NotWrittenError
	if errors.As(err, &notWritten) {
		fmt.Fprintf(stderr, "the key works once this is done in %s: %s\n", notWritten.Path, notWritten.Help())
	}
	return err
}

func listKeys(args []string, stdout, stderr io.Writer) error {
	c, err := configFlag(flag.NewFlagSet("router keys list", flag.ContinueOnError), args, stderr)
	if err != nil {
		return err
	}
	file, err := auth.Load(c.file(c.Keys.File))
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTENANT\tSTATE\tCREATED\tEXPIRES\tNOTE")
	for _, k := range file.Keys {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n",
			k.ID, k.Tenant, keyState(k, time.Now()), date(k.Created), date(k.Expires), k.Note)
	}
	return table.Flush()
}

func keyState(k auth.KeyEntry, now time.Time) string {
	switch {
	case k.Disabled:
		return "disabled"
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return "expired"
	case k.LoopbackOnly:
		return "loopback only"
	}
	return "active"
}

func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.DateOnly)
}
