// Legacydiff shows whether two services answer the callers of the old OCR
// service alike: the old service itself and a router before it is put in its
// place.
//
//	go run ./test/legacydiff -old http://old:5000 -new http://new:5000 -profile app_standard
//
// It sends both the same requests, byte for byte: the corpus, which is every
// row of the old service's contract, and mutations, which follow from a seed.
// What is compared of the answers are status, the headers that matter and the
// exact body, but for what -explain lists with its reason. The exit status is
// 1 where the answers differ.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
)

// options say what is sent where, and how it is compared.
type options struct {
	old, new   target
	profile    profile
	mutations  int
	seed       uint64
	ignoreText bool
	stub       bool // the model obeys pictures
}

func main() {
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errExplain):
		explain(os.Stdout)
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	differences, err := o.run(os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if differences > 0 {
		os.Exit(1)
	}
}

var errExplain = errors.New("explain")

func parse(args []string) (o options, err error) {
	fs := flag.NewFlagSet("legacydiff", flag.ContinueOnError)
	old := fs.String("old", "", "`URL` of the old service, http://host:port")
	new := fs.String("new", "", "`URL` of the router")
	key := fs.String("key", "", "API `key` for the router; without one its legacy routes must be open")
	name := fs.String("profile", string(standard), "which `program` the old service runs and the router's legacy.profile names: app or app_standard")
	fs.IntVar(&o.mutations, "n", 2000, "`number` of mutations beside the corpus")
	fs.Uint64Var(&o.seed, "seed", 1, "`number` that the mutations follow from")
	fs.BoolVar(&o.ignoreText, "ignore-text", false, "compare whether there is a text, not what it says")
	explained := fs.Bool("explain", false, "print what is not compared, and why")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if *explained {
		return o, errExplain
	}
	o.profile = profile(*name)
	if o.profile != app && o.profile != standard {
		return o, fmt.Errorf("-profile %q is neither app nor app_standard", *name)
	}
	if o.old, err = newTarget(*old, ""); err != nil {
		return o, fmt.Errorf("-old: %w", err)
	}
	if o.new, err = newTarget(*new, *key); err != nil {
		return o, fmt.Errorf("-new: %w", err)
	}
	return o, nil
}

// run sends everything and prints every difference. Its error says that a
// service cannot be reached at all, or refuses to be compared.
func (o options) run(w io.Writer) (differences int, err error) {
	for _, t := range []target{o.old, o.new} {
		if _, err := t.send(plain("GET", "/health")); err != nil {
			return 0, fmt.Errorf("http://%s/health: %w", t.address, err)
		}
	}
	statuses := map[int]int{} // of the old service; 0: no answer
	rows := o.rows()
	for i := range len(rows) + max(o.mutations, 0) {
		var r row
		if i < len(rows) {
			r = rows[i]
		} else {
			r = mutation(o.seed, uint64(i-len(rows)))
		}
		old, new := o.both(r.request)
		if new.status == http.StatusUnauthorized || new.status == http.StatusTooManyRequests {
			return differences, fmt.Errorf("the router answered %d: pass the -key of a tenant without limits", new.status)
		}
		statuses[old.status]++
		if old.status == 0 || !old.equal(new) {
			differences++
			o.print(w, r, old, new)
		}
	}
	fmt.Fprintf(w, "%d of the corpus and %d mutations (seed %d): %d differences; the old service's statuses: %v\n",
		len(rows), max(o.mutations, 0), o.seed, differences, statuses)
	return differences, nil
}

// rows are those of the corpus that can be compared.
func (o options) rows() []row {
	return slices.DeleteFunc(corpus(), func(r row) bool { return r.either || r.stub && !o.stub })
}

func (o options) print(w io.Writer, r row, old, new answer) {
	fmt.Fprintf(w, "%s\n  %s %s\n  old %s\n  new %s\n", r.name, r.method, r.target, old, new)
	if r.want != nil {
		fmt.Fprintf(w, "  contract %s\n", r.want(o.profile))
	}
}

// both sends a request to both services at once. Where there is no answer, its
// status is 0 and its body says why.
func (o options) both(r request) (old, new answer) {
	var wg sync.WaitGroup
	wg.Go(func() { old = o.masked(o.old, r) })
	new = o.masked(o.new, r)
	wg.Wait()
	return old, new
}

func (o options) masked(t target, r request) answer {
	a, err := t.send(r)
	if err != nil {
		return answer{body: "no answer: " + err.Error()}
	}
	return o.mask(a)
}
