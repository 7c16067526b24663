package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiles are the pprof files to write at the end.
type profiles []profile

type profile struct {
	file  *os.File
	write func(w io.Writer) error
}

// startProfiles opens the files, so that one that cannot be written is known at
// once, and begins to count. An empty path stands for no profile.
func startProfiles(cpu, heap, block string) (p profiles, err error) {
	var cpuFile *os.File
	for _, one := range []struct {
		path  string
		start func() error
		write func(w io.Writer) error
	}{
		{cpu, func() error { return pprof.StartCPUProfile(cpuFile) }, func(io.Writer) error {
			pprof.StopCPUProfile()
			return nil
		}},
		{heap, nil, func(w io.Writer) error {
			runtime.GC() // the profile is as of the last collection
			return pprof.WriteHeapProfile(w)
		}},
		{block, nil, func(w io.Writer) error { return pprof.Lookup("block").WriteTo(w, 0) }},
	} {
		_ = one
	}
	return nil, errors.New("x")
}

func (p profiles) finish() error {
	var errs []error
	for _, one := range p {
		if err := errors.Join(one.write(one.file), one.file.Close()); err != nil {
			errs = append(errs, fmt.Errorf("profile: %w", err))
		}
	}
	return errors.Join(errs...)
}
