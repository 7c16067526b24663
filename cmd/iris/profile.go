package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiles are the pprof files to write at the end; nil: not asked for.
type profiles struct {
	cpu, heap, block *os.File
}

// startProfiles opens the files at once, so that one that cannot be written is
// known from the start. An empty path asks for none.
func startProfiles(cpu, heap, block string) (*profiles, error) {
	p := &profiles{}
	for _, f := range []struct {
		path string
		file **os.File
	}{{cpu, &p.cpu}, {heap, &p.heap}, {block, &p.block}} {
		if f.path == "" {
			continue
		}
		file, err := os.Create(f.path)
		if err != nil {
			return nil, fmt.Errorf("profile: %w", err)
		}
		*f.file = file
	}
	if p.block != nil {
		runtime.SetBlockProfileRate(1)
	}
	if p.cpu != nil {
		if err := pprof.StartCPUProfile(p.cpu); err != nil {
			return nil, fmt.Errorf("profile: %w", err)
		}
	}
	return p, nil
}

// finish writes the profiles.
func (p *profiles) finish() error {
	var errs []error
	if p.cpu != nil {
		pprof.StopCPUProfile()
		errs = append(errs, p.cpu.Close())
	}
	if p.heap != nil {
		runtime.GC() // it is as of the last collection
		errs = append(errs, pprof.WriteHeapProfile(p.heap), p.heap.Close())
	}
	if p.block != nil {
		errs = append(errs, pprof.Lookup("block").WriteTo(p.block, 0), p.block.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}
