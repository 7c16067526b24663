package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/project-iris/iris/internal/discovery"
)

// Ways to look for other nodes.
const (
	Auto      = "auto"      // all that need not be told anything: Multicast, Scan, Etcd, GCE, and Cache where there is a State
	Multicast = "multicast" // sealed packets to all hosts of the local networks
	Scan      = "scan"      // if that finds nobody, to one address of theirs after another
	Cache     = "cache"     // where other nodes were when the node last ran, which is kept in State
	Etcd      = "etcd"      // in the etcd of this host, where there is one; with a URL: in that
	GCE       = "gce"       // among the instances of Google Compute Engine, where this host is one
	DNS       = "dns"       // with a name, and a port if one is known: whom DNS has under it
	Exec      = "exec"      // with a command of the shell: whom it writes, one address a line
)

// noWay is what stands for an empty Config.Discover where that is typed.
const noWay = "none"

// ParseDiscover returns the words for Config.Discover that lists stand for: words with
// commas between them, or "none". What follows exec: belongs to it up to the end of the
// list, commas included.
func ParseDiscover(lists ...string) (words []string, err error) {
	for _, list := range lists {
		for more := true; more; {
			list = strings.TrimSpace(list)
			word := list
			if !strings.HasPrefix(list, Exec+":") {
				word, list, more = strings.Cut(list, ",")
			} else {
				more = false
			}
			words = append(words, strings.TrimSpace(word))
		}
	}
	if len(words) == 1 && words[0] == noWay {
		return nil, nil
	}
	_, err = parseWays(words)
	return words, err
}

// ways are those in which a node looks for others.
type ways struct {
	auto, multicast, scan, cache, etcd, gce bool

	etcds    []string // URLs, in full
	names    []discovery.DNSName
	commands []string
}

// parseWays returns what the words of Config.Discover ask for.
func parseWays(words []string) (w ways, err error) {
	for _, word := range words {
		if err := w.add(word); err != nil {
			return w, err
		}
	}
	for _, url := range w.etcds {
		if url[:5] != w.etcds[0][:5] {
			return w, fmt.Errorf("%s is https or http, and %s is not: give the same of all members of an etcd", w.etcds[0], url)
		}
	}
	return w, nil
}

func (w *ways) add(word string) (err error) {
	kind, rest, told := strings.Cut(word, ":")
	switch {
	case kind == Etcd && told:
		url, err := discovery.EtcdURL(rest)
		w.etcds = with(w.etcds, url)
		return err
	case kind == DNS && told:
		name, err := discovery.ParseDNSName(rest)
		w.names = with(w.names, name)
		return err
	case kind == Exec && told:
		if strings.TrimSpace(rest) == "" {
			return errors.New("exec: is followed by no command: give one that writes an address of a node a line, as in exec:COMMAND")
		}
		w.commands = with(w.commands, rest)
		return nil
	}
	switch word {
	case Auto:
		w.auto, w.multicast, w.scan, w.etcd, w.gce = true, true, true, true, true
	case Multicast:
		w.multicast = true
	case Scan:
		w.scan = true
	case Cache:
		w.cache = true
	case Etcd:
		w.etcd = true
	case GCE:
		w.gce = true
	default:
		return fmt.Errorf("%q is no way to find other nodes: give auto, none, or some of multicast, scan, cache, etcd, etcd:URL, gce, dns:NAME and exec:COMMAND", word)
	}
	return nil
}

// with returns all and one, once.
func with[T comparable](all []T, one T) []T {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}
