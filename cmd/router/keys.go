package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"ocrmux/auth"
)

const keysUsage = `router keys works on the key file that config.yaml names; a running router
notices the change by itself. With -admin it asks a running router instead.

  router keys create -tenant NAME [-expires 2027-01-31] [-loopback-only]
                     [-limit NAME=NUMBER]... [-note TEXT]
                           make a key for a tenant of the file and print it, once
  router keys list         print the keys: id, tenant, state, limits [-tenant NAME] [-json]
  router keys show ID      print all about a key and its tenant [-json]
  router keys rotate ID    make a key like another one and print it, once; the other
                           is good for -grace 24h more, or ends at once
  router keys disable ID   have a key refused
  router keys enable ID    have it taken again
  router keys delete ID    take a key away for good

The ID of a key is its part after sk-ocr-. A limit is one of requests_per_minute,
images_per_minute, megapixels_per_minute, tokens_per_minute and in_progress.

All take -config config.yaml, or -admin URL and the token of that router's
operators in -token-file FILE or the environment variable ` + adminTokenVariable + `.
`

// keyKeeper is who keeps the keys: a key file, or a running router. A new key
// may come with an error, which then says what is to be done for the key to work.
type keyKeeper interface {
	list(tenant string) ([]auth.PublicKey, error)
	show(id string) (keyAndTenant, error)
	create(auth.KeyOptions) (newKey, error)
	rotate(id string, grace time.Duration) (newKey, error)
	disable(id string) (auth.PublicKey, error)
	enable(id string) (auth.PublicKey, error)
	delete(id string) (auth.PublicKey, error)
}

type keyAndTenant struct {
	Key    auth.PublicKey `json:"key"`
	Tenant auth.Tenant    `json:"tenant"`
}

// newKey is what was made. Its secret is empty where nothing was.
type newKey struct {
	Key    auth.PublicKey `json:"key"`
	Secret string         `json:"secret"`
	Old    auth.PublicKey `json:"old"` // after a rotation
}

func keys(args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return usageError{errors.New("keys: say create, list, show, rotate, disable, enable or delete; router keys help explains")}
	}
	name, args := args[0], args[1:]
	switch name {
	case "create":
		return createKey(args, stdout, stderr)
	case "list":
		return listKeys(args, stdout, stderr)
	case "show":
		return showKey(args, stdout, stderr)
	case "rotate":
		return rotateKey(args, stdout, stderr)
	case "disable":
		return changeKey("disable", "disabled", keyKeeper.disable, args, stdout, stderr)
	case "enable":
		return changeKey("enable", "enabled", keyKeeper.enable, args, stdout, stderr)
	case "delete":
		return changeKey("delete", "deleted", keyKeeper.delete, args, stdout, stderr)
	case "help", "-h", "-help", "--help":
		_, err := fmt.Fprint(stdout, keysUsage)
		return err
	}
	return usageError{fmt.Errorf("keys: there is no %q; router keys help explains", name)}
}

// createKey prints the key alone on stdout, so that a script can take it, and
// all about it on stderr.
func createKey(args []string, stdout, stderr io.Writer) error {
	var o auth.KeyOptions
	set := flag.NewFlagSet("router keys create", flag.ContinueOnError)
	set.StringVar(&o.Tenant, "tenant", "", "the `name` of the tenant that gets the key")
	set.BoolVar(&o.LoopbackOnly, "loopback-only", false, "the key works from the router's machine only")
	set.StringVar(&o.Note, "note", "", "a `text` for whoever reads the key file")
	set.Func("limit", "a limit of this key as `NAME=NUMBER`, beside its tenant's; may be given more than once", func(text string) error {
		return setLimit(&o.Limits, text)
	})
	set.Func("expires", "the `date` (UTC, as 2027-01-31, or a time as 2027-01-31T12:00:00Z) from which the key is refused", func(text string) (err error) {
		if o.Expires, err = time.Parse(time.DateOnly, text); err != nil {
			o.Expires, err = time.Parse(time.RFC3339, text)
		}
		return err
	})
	keeper, err := keeperFlags(set, args, stderr)
	if err != nil {
		return err
	}
	if o.Tenant == "" {
		return usageError{errors.New("keys create: -tenant is needed")}
	}
	made, err := keeper.create(o)
	printNewKey(made, stdout, stderr)
	return err
}

func rotateKey(args []string, stdout, stderr io.Writer) error {
	set := flag.NewFlagSet("router keys rotate", flag.ContinueOnError)
	grace := set.Duration("grace", 0, "how long the old key stays good, as in 24h; 0 ends it at once")
	id, keeper, err := keeperAndID(set, args, stderr)
	if err != nil {
		return err
	}
	made, err := keeper.rotate(id, *grace)
	printNewKey(made, stdout, stderr)
	if err == nil {
		fmt.Fprintf(stderr, "key %s is refused from %s\n", made.Old.ID, made.Old.Expires.UTC().Format(time.RFC3339))
	}
	return err
}

func printNewKey(made newKey, stdout, stderr io.Writer) {
	if made.Secret != "" {
		fmt.Fprintln(stdout, made.Secret)
		fmt.Fprintf(stderr, "key %s of tenant %s; it is shown this once and kept nowhere\n", made.Key.ID, made.Key.Tenant)
	}
}

// changeKey does one of the things that need an id alone.
func changeKey(name, done string, change func(keyKeeper, string) (auth.PublicKey, error), args []string, stdout, stderr io.Writer) error {
	id, keeper, err := keeperAndID(flag.NewFlagSet("router keys "+name, flag.ContinueOnError), args, stderr)
	if err != nil {
		return err
	}
	key, err := change(keeper, id)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "key %s of tenant %s is %s\n", key.ID, key.Tenant, done)
	return err
}

func listKeys(args []string, stdout, stderr io.Writer) error {
	set := flag.NewFlagSet("router keys list", flag.ContinueOnError)
	tenant := set.String("tenant", "", "the `name` of the tenant whose keys are wanted; all without")
	asJSON := set.Bool("json", false, "print JSON")
	keeper, err := keeperFlags(set, args, stderr)
	if err != nil {
		return err
	}
	keys, err := keeper.list(*tenant)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(stdout, map[string][]auth.PublicKey{"keys": keys})
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTENANT\tSTATE\tCREATED\tEXPIRES\tLIMITS\tNOTE")
	for _, k := range keys {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			k.ID, k.Tenant, k.State, date(k.Created), date(k.Expires), limitsInShort(k.Limits), printable(k.Note))
	}
	return table.Flush()
}

func showKey(args []string, stdout, stderr io.Writer) error {
	set := flag.NewFlagSet("router keys show", flag.ContinueOnError)
	asJSON := set.Bool("json", false, "print JSON")
	id, keeper, err := keeperAndID(set, args, stderr)
	if err != nil {
		return err
	}
	found, err := keeper.show(id)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(stdout, found)
	}
	k, t := found.Key, found.Tenant
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) { fmt.Fprintf(table, "%s\t%s\n", name, value) }
	line("key", k.ID)
	line("state", k.State)
	line("created", moment(k.Created))
	line("expires", moment(k.Expires))
	line("from", choose(k.LoopbackOnly, "the router's machine only", "anywhere"))
	line("limits", limitsInShort(k.Limits))
	line("note", printable(k.Note))
	line("tenant", t.Name)
	line("  class", t.Class)
	line("  weight", strconv.FormatFloat(t.Weight, 'g', -1, 64))
	line("  models", choose(len(t.Models) == 0, "all", printable(strings.Join(t.Models, ", "))))
	line("  routes", choose(len(t.Routes) == 0, "all", strings.Join(t.Routes, ", ")))
	line("  limits", limitsInShort(t.Limits))
	line("  quota", quotaInShort(t.Quota))
	line("  at its limits", choose(t.Wait, "waits for requests in progress", "is refused"))
	line("  privileged", choose(t.Privileged, "yes", "no"))
	line("  cache group", choose(t.CacheGroup != "", printable(t.CacheGroup), "-"))
	line("  finishes abandoned work", choose(t.FinishAbandoned, "yes", "no"))
	for _, name := range slices.Sorted(maps.Keys(t.Labels)) {
		line("  label "+printable(name), printable(t.Labels[name]))
	}
	return table.Flush()
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
