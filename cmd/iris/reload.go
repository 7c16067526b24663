package main

import (
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/project-iris/iris/node"
)

// A live is the configuration of a node that runs.
type live struct {
	node    *node.Node
	started node.Config
	typed   *pflag.FlagSet // the command line
	level   *slog.LevelVar
	now     map[string][]string // the texts of each flag
}

// until returns the first of signals; at each of hangups it reads the configuration again.
func (l *live) until(signals, hangups <-chan os.Signal, s *supervisor) os.Signal {
	for {
		select {
		case end := <-signals:
			return end
		case <-hangups:
			s.reloading()
			if err := l.reload(); err != nil {
				l.started.Log.Error("the configuration cannot be taken over: the node goes on as it was", "error", errorText(err))
			}
			s.tell("READY=1")
		}
	}
}

// reload reads the file, the environment and the keys again, and puts into effect what can
// be while the node runs.
func (l *live) reload() error {
	flags := pflag.NewFlagSet("node", pflag.ContinueOnError)
	o := newNodeFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if typed := l.typed.Lookup(f.Name); typed.Changed {
			assign(f, texts(typed)) // which it took before
			f.Changed = true
		}
	})
	if err := settle(flags); err != nil {
		return err
	}
	c := node.Config{SocketUIDs: o.uids}
	if !l.started.Dev {
		if o.key == "-" {
			c.Key = l.started.Key // standard input is read once
		}
		if err := o.others(&c); err != nil {
			return withOrigins(err, flags)
		}
		if err := o.keys(&c, flags, nil, l.started.Log); err != nil {
			return withOrigins(err, flags)
		}
	}
	if err := l.node.Update(c); err != nil {
		return err
	}
	o.setLevel(l.level)
	l.tell(allTexts(flags))
	return nil
}

// atOnce are the flags whose values can be changed while the node runs.
var atOnce = []string{"key", "also-accept", "insecure-key-file", "peer", "socket-uid", "log-level"}

// tell tells what is changed, and what will be by a restart.
func (l *live) tell(next map[string][]string) {
	var changed []string
	l.typed.VisitAll(func(f *pflag.Flag) {
		switch {
		case slices.Equal(l.now[f.Name], next[f.Name]):
		case slices.Contains(atOnce, f.Name):
			l.now[f.Name] = next[f.Name]
			changed = append(changed, f.Name)
		default:
			l.started.Log.Warn("restart to change " + f.Name)
		}
	})
	l.started.Log.Info("the configuration was read again", "changed", strings.Join(changed, ","))
}

// allTexts returns the texts of each flag that a configuration may have.
func allTexts(flags *pflag.FlagSet) map[string][]string {
	all := make(map[string][]string)
	flags.VisitAll(func(f *pflag.Flag) {
		if isSetting(f) {
			all[f.Name] = texts(f)
		}
	})
	return all
}
