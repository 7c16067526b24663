package node

import (
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/session"
)

// DefaultPort is the TCP port programs look for their node on.
const DefaultPort = relaywire.DefaultPort

// minMemory is the least a node works with.
const minMemory = 64 << 20

// Config says what kind of node New makes. The zero value of a field means what
// its comment says.
type Config struct {
	// Network is the name of the network, and Key its key: an
	// ed25519.PrivateKey or *rsa.PrivateKey. Both are required unless Dev is
	// set.
	Network string
	Key     crypto.Signer

	// Dev makes a throw-away network of its own, in memory, that never leaves
	// this host; Network and Key must not be set then.
	Dev bool

	// Accept are further keys that other nodes of the network may have, 3 at most:
	// for the time of a change from one key to another.
	Accept []crypto.Signer

	// Listen is where other nodes reach this one, host:port; without a host: at every
	// address of this host; empty: nowhere, it can only reach others itself.
	Listen string

	// Advertise are the addresses that other nodes are told to dial, IP:port, where
	// they differ from those that Listen is at.
	Advertise []string

	// Peers are addresses of other nodes, host:port. One of them that is up is
	// enough: it knows the others. They are dialled again for ever.
	Peers []string

	// Discover are the ways in which the node looks for others beside Peers; nil: none.
	// They are Auto, Multicast, Scan, Cache, Etcd, Etcd+":"+URL once for each of its
	// members, GCE, DNS+":"+NAME, with ":"+PORT behind it or without, and
	// Exec+":"+COMMAND.
	Discover []string

	// Interfaces are the names of those network interfaces that Discover looks on, and
	// whose addresses other nodes are told; empty: all but loopback.
	Interfaces []string

	// Drain is how long Close waits for requests that other programs are being
	// served with; 0: it does not.
	Drain time.Duration

	// Port is the TCP port of the relay on 127.0.0.1 and ::1; 0: any free one,
	// which Status tells.
	Port int

	// Socket is the path of the relay's Unix socket; empty: none. A socket
	// that cannot be had is a warning, and the node goes on without it.
	Socket string

	// SocketUIDs are users let in on the Unix socket beside root and our own.
	SocketUIDs []int

	// Listeners take the place of Port and Socket when set. The node closes
	// them.
	Listeners []net.Listener

	// State is a directory of the node's own, for the admin socket; empty:
	// none.
	State string

	// Admin is where the node answers HTTP over TCP, host:port; empty: nowhere. Off
	// loopback all but whether it is alive and ready takes the token in State.
	Admin string

	// AdminHosts are names that requests to Admin may be for, beside addresses and
	// localhost.
	AdminHosts []string

	// Memory bounds what payload may hold, in octets; 0: half of
	// DefaultMemory. The process needs about twice as much: its collector lets
	// as much garbage gather as there is in use.
	Memory int64

	// MaxMessage bounds the body of one message, in octets; 0: 64 MiB.
	MaxMessage int

	// MaxPrograms bounds the programs attached at once; 0: 10,000, or a quarter
	// of the descriptors the process may open if that is less.
	MaxPrograms int

	// Version is what Status calls the version of the program.
	Version string

	// Log is where the node logs; nil: nowhere.
	Log *slog.Logger

	// Now is the wall clock that certificates, and what is sent before them, are
	// dated by; nil: time.Now.
	Now func() time.Time
}

// DefaultMemory is what a process that is a node, and nothing else, should take
// at most, in octets: a quarter of what the host or the control group has.
func DefaultMemory() int64 {
	octets, _ := HostMemory()
	return octets / 4
}

// HostMemory is what the host has of memory, in octets, or a control group of this
// process if that is less, and where this is from; a guess where the system does not
// say.
func HostMemory() (octets int64, from string) { return hostMemory() }

// DefaultPrograms is how many programs may be attached at once by default, as this
// process may have so many files and connections open.
func DefaultPrograms() (programs, files int) {
	files = descriptors()
	return min(10_000, max(64, (files-512)/4)), files
}

// checkPeers says what is wrong with Peers.
func (c *Config) checkPeers() error {
	for _, p := range c.Peers {
		if _, port, err := discovery.SplitHostPort(p); err != nil || port == 0 {
			return fmt.Errorf("%q is not the address of a peer: give HOST:PORT, such as 192.0.2.1:14142", p)
		}
	}
	return nil
}

// credential is what the keys of the network allow.
func (c *Config) credential() (*session.Credential, error) {
	keys := make([]*session.Key, 0, 1+len(c.Accept))
	for _, s := range append([]crypto.Signer{c.Key}, c.Accept...) {
		k, err := session.KeyOf(s)
		if err != nil {
			return nil, fmt.Errorf("key of network %q: %w", c.Network, err)
		}
		keys = append(keys, k)
	}
	return session.NewCredential(c.Network, keys[0], keys[1:]...)
}

// check fills in defaults and says what is wrong.
func (c *Config) check() error {
	switch {
	case c.Dev && (c.Network != "" || c.Key != nil):
		return errors.New("a dev node makes up its own network: leave out its name and key")
	case !c.Dev && c.Network == "":
		return errors.New("no network: give its name and key, or choose a dev node")
	case !c.Dev && c.Key == nil:
		return fmt.Errorf("no key for network %q", c.Network)
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("port %d is not in 0 to 65535", c.Port)
	case c.Memory != 0 && c.Memory < minMemory:
		return fmt.Errorf("memory of %d MiB is too little: give at least %d MiB", c.Memory>>20, minMemory>>20)
	case c.MaxMessage < 0 || c.MaxPrograms < 0:
		return errors.New("a limit is negative")
	}
	if !c.Dev {
		if err := session.CheckNetwork(c.Network); err != nil {
			return err
		}
	}
	if c.Dev && (c.Listen != "" || len(c.Peers) > 0 || len(c.Discover) > 0) {
		return errors.New("a dev node has no others: leave out where it listens, its peers and how to discover some")
	}
	if err := c.checkAdmin(); err != nil {
		return err
	}
	w, err := parseWays(c.Discover)
	if err != nil {
		return err
	}
	if err := c.checkPeers(); err != nil {
		return err
	}
	if c.State == "" && w.cache {
		return errors.New("where other nodes were is kept in a state directory: give State, or leave out Cache")
	}
	if c.Memory == 0 {
		c.Memory = max(DefaultMemory()/2, minMemory)
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = relaywire.DefaultLimits.Body
	}
	if c.MaxPrograms == 0 {
		c.MaxPrograms, _ = DefaultPrograms()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
