//go:build unix && !linux

package sim

import "syscall"

// childAttributes puts a child into a process group of its own, to be killed as
// one.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }
