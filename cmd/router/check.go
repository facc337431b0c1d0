package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"go.yaml.in/yaml/v3"
)

// check builds everything that serve would, prints what would be in force, and
// opens and starts nothing.
func check(args []string, stdout, stderr io.Writer) error {
	c, err := configFlag(flag.NewFlagSet("router check", flag.ContinueOnError), args, stderr)
	if err != nil {
		return err
	}
	if _, err := build(c, durable{}, slog.New(slog.DiscardHandler), new(slog.LevelVar)); err != nil {
		return err
	}
	for _, warning := range warnings(c) {
		fmt.Fprintln(stderr, "warning:", warning)
	}
	return printConfig(stdout, c)
}

// configJSON is what printConfig writes, as JSON.
func configJSON(c *Config) ([]byte, error) {
	var text bytes.Buffer
	if err := printConfig(&text, c); err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text.Bytes(), &tree); err != nil {
		return nil, fmt.Errorf("printing the configuration: %w", err)
	}
	return json.Marshal(tree)
}

// printConfig writes the effective configuration as YAML that could be loaded
// again, with every default filled in and secrets hidden.
func printConfig(w io.Writer, c *Config) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return fmt.Errorf("printing the configuration: %w", err)
	}
	return enc.Close()
}
