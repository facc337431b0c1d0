// Command router is ocrmux: an OpenAI-compatible router in front of several
// GPU servers that run DeepSeek-OCR under vLLM.
//
// main chooses a subcommand. serve reads config.yaml (load), builds every room
// of the house by hand (build), opens the two listeners and runs until it is
// told to stop (run); check does the same without opening anything; keys works
// on the key file or, as usage does, on a running router's admin API. Flags,
// the environment and YAML are known here and nowhere else.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for could not be done
	exitUsage  = 2 // it is not clear what was asked for
)

const overview = `router is ocrmux, an OpenAI-compatible router for DeepSeek-OCR on several GPUs.

Usage:

  router serve   [-config config.yaml]   run until SIGTERM or Ctrl-C
  router check   [-config config.yaml]   validate, and print what would be in force
  router keys    create|list|show|rotate|disable|enable|delete
                                         work on keys; router keys help explains
  router usage   [-admin URL]            print what tenants and keys used
  router version                         print the version
  router help                            print this

config.yaml in the root of the repository explains every setting.
`

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version string

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

func command(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, overview)
		return exitUsage
	}
	name, args := args[0], args[1:]
	var err error
	switch name {
	case "serve":
		err = serve(args, stderr)
	case "check":
		err = check(args, stdout, stderr)
	case "keys":
		err = keys(args, stdout, stderr)
	case "usage":
		err = showUsage(args, stdout, stderr)
	case "version":
		fmt.Fprintln(stdout, "ocrmux router", buildVersion(), runtime.Version())
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, overview)
	default:
		err = usageError{fmt.Errorf("there is no subcommand %q; router help lists them", name)}
	}
	return exitCode(err, stderr)
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func exitCode(err error, stderr io.Writer) int {
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "router:", err)
		return exitUsage
	default:
		var found *problems
		if errors.As(err, &found) { // each line names its file already
			fmt.Fprintln(stderr, err)
		} else {
			fmt.Fprintln(stderr, "router:", err)
		}
		return exitFailed
	}
}

// flags parses a subcommand's flags and refuses anything beside them.
func flags(set *flag.FlagSet, args []string, stderr io.Writer) error {
	set.SetOutput(stderr)
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	if set.NArg() > 0 {
		return usageError{fmt.Errorf("%s: unexpected %q", set.Name(), set.Arg(0))}
	}
	return nil
}

// configFlag adds the flag that every subcommand has and loads the file.
func configFlag(set *flag.FlagSet, args []string, stderr io.Writer) (*Config, error) {
	path := set.String("config", "config.yaml", "the configuration `file`")
	if err := flags(set, args, stderr); err != nil {
		return nil, err
	}
	return load(*path, os.LookupEnv)
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return "devel-" + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return "devel"
}
