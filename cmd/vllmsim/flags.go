package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ocrmux/backends/sim"
)

const about = `vllmsim plays a vLLM server that serves DeepSeek-OCR, on a machine without a GPU.
It is a stand-in and not DeepSeek-OCR: it invents the text of a page
(-engine synthetic) or reads the page with Tesseract (-engine tesseract).
Faults: POST /sim/faults. Counters: GET /sim/stats.

`

// configure turns the command line into a configuration.
func configure(args []string) (listen string, cfg sim.Config, err error) {
	fs := flag.NewFlagSet("vllmsim", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), about)
		fs.PrintDefaults()
	}
	var (
		engine, tokens         string
		workers                int
		timing                 sim.Timing
		preprocess, ttft, tpot = "preprocess", "ttft", "tpot"
	)
	fs.StringVar(&listen, "listen", "127.0.0.1:8001", "`address` to listen on")
	fs.StringVar(&cfg.Model, "model", "deepseek-ai/DeepSeek-OCR", "served model `name`")
	fs.StringVar(&engine, "engine", "synthetic", "synthetic or tesseract")
	fs.IntVar(&workers, "workers", 0, "tesseract `processes` at once (default one for every CPU)")
	fs.StringVar(&cfg.APIKey, "api-key", "", "`key` to ask for below /v1 (default none)")
	fs.IntVar(&cfg.MaxModelLen, "max-model-len", 8192, "context length in `tokens`")
	fs.IntVar(&cfg.MaxNumSeqs, "max-num-seqs", 256, "`requests` that run at once; the rest wait")
	fs.Float64Var(&cfg.Speed, "speed", 1, "`factor` that divides all service times")
	fs.Uint64Var(&cfg.Seed, "seed", 0, "`number` that synthetic texts, times and injected errors depend on")
	fs.StringVar(&tokens, "tokens", "", "fixed length of synthetic texts, `N or MIN-MAX` tokens (default: as real pages)")
	fs.DurationVar(&timing.Preprocess, preprocess, 0, "fixed `time` to prepare a request, one at a time (default: modelled;\nwith tesseract only -tpot 1ms)")
	fs.DurationVar(&timing.FirstToken, ttft, 0, "fixed `time` to the first token (default: modelled)")
	fs.DurationVar(&timing.PerToken, tpot, 0, "fixed `time` per token after the first (default: modelled)\nif one of the three is given, the others are 0")
	if err := fs.Parse(args); err != nil {
		return "", cfg, err
	}
	if fs.NArg() > 0 {
		return "", cfg, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	fs.Visit(func(f *flag.Flag) {
		if f.Name == preprocess || f.Name == ttft || f.Name == tpot {
			cfg.Timing = &timing
		}
	})
	length, err := parseRange(tokens)
	if err != nil {
		return "", cfg, err
	}
	switch engine {
	case "synthetic":
		cfg.Engine = sim.Synthetic{Seed: cfg.Seed, Tokens: length}
	case "tesseract":
		if cfg.Engine, err = sim.NewTesseract(workers); err != nil {
			return "", cfg, err
		}
		if cfg.Timing == nil { // reading takes its own time; only the stream is paced
			cfg.Timing = &sim.Timing{PerToken: time.Millisecond}
		}
	default:
		return "", cfg, fmt.Errorf("-engine %q is neither synthetic nor tesseract", engine)
	}
	return listen, cfg, nil
}

// parseRange reads "650" or "100-1000"; "" is no range.
func parseRange(s string) (sim.Range, error) {
	if s == "" {
		return sim.Range{}, nil
	}
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	lo, err1 := strconv.Atoi(low)
	hi, err2 := strconv.Atoi(high)
	if err1 != nil || err2 != nil || lo < 1 || hi < lo {
		return sim.Range{}, fmt.Errorf("-tokens %q is neither a number nor MIN-MAX", s)
	}
	return sim.Range{Min: lo, Max: hi}, nil
}
