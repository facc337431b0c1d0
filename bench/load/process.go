package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc, the same on every Linux that Go runs
// on (USER_HZ in proc(5)).
const tick = 10 * time.Millisecond

// usage is what has been used up to now; two of them make a window.
type usage struct {
	at      time.Time
	proxy   time.Duration // CPU of the peer
	bench   time.Duration // CPU of all that belongs to the bench, the peer included
	machine time.Duration // CPU of the machine
	peakMiB float64       // of the peer, the most that was ever resident
}

// others is the CPU that went elsewhere: to other programs, or, on a virtual
// machine, to its neighbours.
func (u usage) others() time.Duration { return u.machine - u.bench }

func (p *peer) usage() (u usage, err error) {
	own, err := readProcess(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return u, err
	}
	u.at, u.proxy = time.Now(), own.cpu
	if u.machine, err = machineCPU(); err != nil {
		return u, err
	}
	if u.bench, err = siblingsCPU(); err != nil {
		return u, err
	}
	u.peakMiB, err = peakMiB(p.pid)
	return u, err
}

type process struct {
	parent int
	cpu    time.Duration // user and system
}

// readProcess reads a /proc/PID/stat. The program's name, in parentheses, may
// hold anything; what follows is counted from there.
func readProcess(file string) (process, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return process{}, err
	}
	line := string(b)
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 13 {
		return process{}, fmt.Errorf("%s has %d fields", file, len(fields))
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, err
	}
	cpu, err := sumTicks(fields[11:13])
	return process{parent, cpu}, err
}

// siblingsCPU adds up what started bench/run's children, of which this process
// is one; the proxies and the backends are the others.
func siblingsCPU() (sum time.Duration, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		each, err := readProcess(file)
		if err == nil && each.parent == os.Getppid() {
			sum += each.cpu
		} // one that cannot be read has just ended, and is not ours
	}
	return sum, nil
}

// machineCPU is user, nice, system and stolen time of all processors. Interrupts
// are left out: they are nobody's.
func machineCPU() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 {
		return 0, errors.New("/proc/stat: the first line is short")
	}
	return sumTicks(append(fields[1:4:4], fields[8]))
}

func sumTicks(fields []string) (sum time.Duration, err error) {
	for _, field := range fields {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ticks) * tick
	}
	return sum, nil
}

func peakMiB(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d shows no VmHWM", pid)
}
