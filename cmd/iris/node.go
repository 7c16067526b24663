package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/project-iris/iris/internal/relaywire"
	"github.com/project-iris/iris/internal/session"
	"github.com/project-iris/iris/internal/wire"
	"github.com/project-iris/iris/node"
)

// leastMemory leaves the node the 64 MiB it works with at least.
const leastMemory = 128 << 20

// nodeFlags are the flags of the node command.
type nodeFlags struct {
	dev                    bool
	net, key               string
	accept                 []string
	listen                 string
	discover, interfaces   []string
	advertise, peers       []string
	drain                  span
	insecure               bool
	port                   port
	socket, state          string
	uids                   uids
	admin                  string
	adminHosts             []string
	memory, maxMessage     size
	logLevel, logFormat    choice
	cpuprof, heapprof, blk string
	file                   string
	print                  bool
}

func newNodeCommand() *cobra.Command {
	var o *nodeFlags
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Run the node of this host",
		Example: `iris node --dev
iris keygen demo.key && iris node --net demo --key demo.key
iris node --net demo --key demo.key --peer 192.0.2.1 --discover none
iris node --net demo --key demo.key --discover etcd:http://192.0.2.5:2379`,
		Long: `Runs the node of this host. Programs of the host attach to it on loopback, by
relay protocol v1 or v0; the nodes of other hosts with the same network and key are
linked to it, encrypted, and what their programs offer can be used by name.

Nodes of one local network find each other, by sealed packets: multicast, where
that finds nobody a scan of small subnets, and the addresses of last time. Nodes
that share an etcd find each other by that, and on Google Compute Engine its
metadata server helps. Name nodes elsewhere with --peer: one that is up is enough,
as it knows the others; it is dialled for ever. A port that is left out is 14142.

SIGTERM or SIGINT ends the node in order: nobody sends it anything new, what its
programs are working on is finished within --drain, they get what waits for them
and a farewell. A second signal ends it at once.

With --dev the network is a throw-away one of its own, and once the relay is open
the node sends a message through it and writes what came back to standard output.

The key of a network comes from --key, else from the file that IRIS_KEY_FILE
names, else from iris.key in the directory that CREDENTIALS_DIRECTORY names.

A flag that is not given is taken from a variable, such as IRIS_LOG_LEVEL for
--log-level, lists with commas between; else from the TOML file that --config names,
where it is log-level = "debug". --print-config shows what came from where. SIGHUP
has the node read all that again. With --port 0 there are no socket and no state
directory unless they are named.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o = newNodeFlags(cmd.Flags())
	return cmd
}

// newNodeFlags returns the flags of the node command, which it adds to f.
func newNodeFlags(f *pflag.FlagSet) *nodeFlags {
	o := &nodeFlags{
		port:      node.DefaultPort,
		drain:     span(30 * time.Second),
		logLevel:  choice{"info", []string{"debug", "info", "warn", "error"}},
		logFormat: choice{"text", []string{"text", "json"}},
	}
	f.SortFlags = false
	f.BoolVar(&o.dev, "dev", false, "make a throw-away network that never leaves this host")
	f.StringVar(&o.net, "net", "", "the network's `NAME`")
	f.StringVar(&o.key, "key", "", "`FILE` with the key of the network, - for standard input")
	f.BoolVar(&o.insecure, "insecure-key-file", false, "accept a key file that others own or may read")
	f.StringArrayVar(&o.accept, "also-accept", nil, "`FILE` with another key that other nodes may have, while it is changed; may be repeated")
	f.StringArrayVar(&o.peers, "peer", nil, "`HOST:PORT` of another node; may be repeated")
	f.StringVar(&o.listen, "listen", "", "`HOST:PORT` for other nodes, or none; default: port 14142 of every address")
	f.StringArrayVar(&o.advertise, "advertise", nil, "`IP:PORT` that other nodes are told to dial; may be repeated; default: where it listens")
	f.StringArrayVar(&o.discover, "discover", []string{node.Auto}, "`WAYS` to find other nodes beside --peer: none, or some of auto,multicast,scan,cache,etcd,etcd:URL,gce,dns:NAME,exec:COMMAND; may be repeated")
	f.StringArrayVar(&o.interfaces, "interface", nil, "network interface `NAME` to find others on and be found at; may be repeated; default: all")
	f.Var(&o.drain, "drain", "how long the end waits for requests under way")
	f.Var(&o.port, "port", "TCP port of the relay; 0: any that is free")
	f.StringVar(&o.socket, "socket", "", "`PATH` of its Unix socket, or none; default: where programs look")
	f.Var(&o.uids, "socket-uid", "let this user in on the Unix socket; may be repeated")
	f.StringVar(&o.state, "state", "", "`DIR` to make the node's own in, or none; default: this user's")
	f.StringVar(&o.admin, "admin-listen", "", "`HOST:PORT` to answer HTTP at, such as /readyz; default: the admin socket alone answers")
	f.StringArrayVar(&o.adminHosts, "admin-host", nil, "`NAME` that such requests may be for, beside addresses and localhost; may be repeated")
	f.Var(&o.memory, "memory", "memory to stay within, such as 512M; default: automatic")
	f.Var(&o.maxMessage, "max-message", "largest message; default: 64M")
	f.Var(&o.logLevel, "log-level", "least of debug, info, warn, error to log")
	f.Var(&o.logFormat, "log-format", "text or json")
	f.StringVar(&o.cpuprof, "cpuprof", "", "at the end write a profile of processor time to `FILE`")
	f.StringVar(&o.heapprof, "heapprof", "", "at the end write a profile of memory to `FILE`")
	f.StringVar(&o.blk, "blockprof", "", "at the end write a profile of waiting to `FILE`")
	f.StringVar(&o.file, "config", "", "`FILE` with what no flag and no variable says")
	f.BoolVar(&o.print, "print-config", false, "write the configuration as such a file, tell where each value is from, and end")
	f.VisitAll(func(f *pflag.Flag) {
		if f.Name != "print-config" {
			note(f, noteVariable, variable(f.Name))
		}
	})
	nameEnvironment(f)
	return o
}

func (o *nodeFlags) run(cmd *cobra.Command) error {
	if o.print {
		return o.printConfig(cmd.OutOrStdout(), cmd.Flags())
	}
	level := new(slog.LevelVar)
	log := o.logger(cmd.ErrOrStderr(), level)
	config, err := o.config(cmd, log)
	if err != nil {
		return withOrigins(err, cmd.Flags())
	}
	profiles, err := startProfiles(o.cpuprof, o.heapprof, o.blk)
	if err != nil {
		return err
	}
	signals, hangups := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !o.dev && !signal.Ignored(syscall.SIGHUP) { // a dev node ends with its terminal
		signal.Notify(hangups, syscall.SIGHUP)
	}

	n, err := start(config)
	if err != nil {
		return errors.Join(withOrigins(err, cmd.Flags()), profiles.finish())
	}
	if err = o.announce(cmd.OutOrStdout(), n, config, cmd.Flags()); err == nil {
		l := &live{node: n, started: config, typed: cmd.Flags(), level: level, now: allTexts(cmd.Flags())}
		s := supervise(n, os.Getenv, config.Log)
		end := l.until(signals, hangups, s)
		log.Info("stopping", "signal", end.String())
		s.tell("STOPPING=1", "STATUS=finishing what programs work on")
	}
	// Now rather than after Close: a second signal does not wait for that.
	err = errors.Join(err, profiles.finish())
	closed := make(chan struct{})
	go func() {
		n.Close()
		close(closed)
	}()
	select {
	case <-closed:
		return err
	case <-signals:
		return errors.Join(err, errors.New("stopped at once by a second signal: what waited for programs is lost"))
	}
}

// logger returns a logger whose level may be changed by level.
func (o *nodeFlags) logger(w io.Writer, level *slog.LevelVar) *slog.Logger {
	o.setLevel(level)
	options := &slog.HandlerOptions{Level: level}
	if o.logFormat.value == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func (o *nodeFlags) setLevel(level *slog.LevelVar) {
	if err := level.UnmarshalText([]byte(o.logLevel.value)); err != nil {
		panic(err) // the words of the flag are levels
	}
}

// config returns the configuration of the node that the flags ask for.
func (o *nodeFlags) config(cmd *cobra.Command, log *slog.Logger) (node.Config, error) {
	c := node.Config{
		Dev:        o.dev,
		SocketUIDs: o.uids,
		Admin:      o.admin,
		AdminHosts: o.adminHosts,
		MaxMessage: int(o.maxMessage),
		Version:    versionText(),
	}
	if o.memory != 0 && o.memory < leastMemory {
		return c, usageError{fmt.Errorf("memory of %s is too little: give at least %d MiB", octets(int64(o.memory)), leastMemory>>20)}
	}
	// The node counts payload. The collector lets as much garbage gather as
	// there is in use, up to the limit of announce.
	c.Memory = o.limit() / 2

	if _, port, err := net.SplitHostPort(o.admin); o.admin != "" && (err != nil || !isPort(port)) {
		return c, usageError{fmt.Errorf("--admin-listen %q is no address: give HOST:PORT, such as 127.0.0.1:8080, or :8080 for every address of this host", o.admin)}
	}

	if o.dev {
		// Only what was typed is refused: the environment may be there for
		// other nodes.
		for _, name := range []string{"net", "key", "also-accept", "peer", "listen", "advertise", "discover", "interface"} {
			if cmd.Flags().Changed(name) {
				return c, usageError{fmt.Errorf("--dev makes up a network of its own, with a key of its own: leave out --%s, or --dev to join one", name)}
			}
		}
	} else {
		if o.net == "" {
			return c, usageError{errors.New("no network: --dev makes a throw-away one, --net NAME and --key FILE choose one")}
		}
		if err := session.CheckNetwork(o.net); err != nil {
			return c, usageError{err}
		}
		log = log.With("network", o.net)
		if err := o.others(&c); err != nil {
			return c, err
		}
		c.Network = o.net
		if err := o.keys(&c, cmd.Flags(), cmd.InOrStdin(), log); err != nil {
			return c, err
		}
	}
	c.Log = log

	c.Port = int(o.port)
	if c.Port == 0 {
		port, err := freePort() // its number is in the paths below
		if err != nil {
			return c, err
		}
		c.Port = port
	}
	c.Socket = o.socketPath(c.Port)
	state, err := stateDir(o.chosen(o.state))
	switch {
	case err != nil && !o.dev:
		return c, err
	case err != nil:
		log.Warn("no admin socket", "error", err)
	case state != "":
		c.State = filepath.Join(absolute(state), nodeDir(c.Network, c.Port))
	}
	if c.State == "" && slices.Contains(c.Discover, node.Cache) {
		return c, usageError{fmt.Errorf("--discover %s keeps in a state directory where other nodes were, and there is none: give --state DIR, or leave it out", node.Cache)}
	}
	if !o.dev && o.listen == "" {
		c.Listen, err = giveWay(c.Listen, log)
	}
	return c, err
}

// chosen returns what was chosen of socket or state. A port that nobody chose is found
// by nobody: without defaults no node leaves directories behind that none uses again.
func (o *nodeFlags) chosen(path string) string {
	if o.port == 0 {
		return cmp.Or(path, none)
	}
	return path
}

// socketPath returns the path of the Unix socket of a node at a port; empty: none.
func (o *nodeFlags) socketPath(port int) string {
	switch socket := o.chosen(o.socket); {
	case socket == none, socket == "" && !localSockets:
		return ""
	case socket == "":
		return relaywire.SocketPath(port, os.Getenv, os.Geteuid())
	default:
		return absolute(socket)
	}
}

// keys fills in the key of the network, unless it is there, and further ones that are
// accepted.
func (o *nodeFlags) keys(c *node.Config, flags *pflag.FlagSet, stdin io.Reader, log *slog.Logger) error {
	if c.Key == nil {
		if err := o.ownKey(c, flags, stdin, log); err != nil {
			return err
		}
	}
	for _, file := range o.accept {
		other, err := session.LoadKey(file, o.insecure)
		if err != nil {
			return fmt.Errorf("--also-accept: %w", err)
		}
		c.Accept = append(c.Accept, other.Signer())
		log.Info("another key is accepted", "key", other.Fingerprint(), "from", file)
	}
	return nil
}

func (o *nodeFlags) ownKey(c *node.Config, flags *pflag.FlagSet, stdin io.Reader, log *slog.Logger) error {
	flag, from := o.key, noted(flags.Lookup("key"), noteOrigin)
	if from == variable("key") {
		flag = "" // it is looked for there anyway
	}
	key, source, err := session.FindKey(flag, o.insecure, os.Getenv, stdin)
	if errors.Is(err, session.ErrNoKey) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	if source == "--key" {
		source = cmp.Or(from, source)
	}
	c.Key = key.Signer()
	log.Info("the network's key", "key", key.Fingerprint(), "from", source)
	return nil
}

// others fills in how this node and others find each other.
func (o *nodeFlags) others(c *node.Config) (err error) {
	if c.Discover, err = node.ParseDiscover(o.discover...); err != nil {
		return usageError{fmt.Errorf("--discover: %w", err)}
	}
	c.Interfaces = o.interfaces
	c.Drain = time.Duration(o.drain)
	for _, p := range o.peers {
		addr := withPort(p)
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || !isPort(port) || port == "0" {
			return usageError{fmt.Errorf("--peer %q is not the address of a node: give HOST or HOST:PORT, such as 192.0.2.1 or 192.0.2.1:%s", p, nodePort)}
		}
		c.Peers = append(c.Peers, addr)
	}
	if len(o.advertise) > wire.MaxAddrs {
		return usageError{fmt.Errorf("--advertise is given %d times, %d are the most: leave out those that reach this node no better than others", len(o.advertise), wire.MaxAddrs)}
	}
	for _, a := range o.advertise {
		if ap, err := netip.ParseAddrPort(a); err != nil || ap.Port() == 0 {
			return usageError{fmt.Errorf("--advertise %q is no address that others could dial: give IP:PORT, such as 192.0.2.1:%s", a, nodePort)}
		}
	}
	if len(o.advertise) > 0 && o.listen == none {
		return usageError{errors.New("--advertise tells others where to dial, and --listen none that they cannot: leave out one")}
	}
	c.Advertise = o.advertise
	c.Listen, err = o.listenAt()
	return err
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// nodePort is where nodes reach each other if nobody says otherwise.
const nodePort = "14142"

// withPort returns an address with the port that goes without saying.
func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	if _, err := netip.ParseAddr(strings.Trim(addr, "[]")); err == nil || !strings.Contains(addr, ":") {
		return net.JoinHostPort(strings.Trim(addr, "[]"), nodePort)
	}
	return addr
}

// listenAt returns where other nodes reach this one, by what was typed.
func (o *nodeFlags) listenAt() (string, error) {
	switch o.listen {
	case none:
		return "", nil
	case "":
		return ":" + nodePort, nil
	default:
		addr := withPort(o.listen)
		if _, port, err := net.SplitHostPort(addr); err != nil || !isPort(port) {
			return "", usageError{fmt.Errorf("--listen %q is no address: give HOST or HOST:PORT of this host, :PORT for every address, or none", o.listen)}
		}
		return addr, nil
	}
}

// giveWay leaves a port that nobody chose to whoever has it: another node of this host,
// most likely.
func giveWay(addr string, log *slog.Logger) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return addr, l.Close()
	}
	log.Warn("port "+nodePort+" is taken: other nodes reach this one at a port that only it tells", "error", err)
	return ":0", nil
}

// freePort returns a port that nobody has on either loopback address.
func freePort() (int, error) {
	const tries = 16
	for i := 1; ; i++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			l, err = net.Listen("tcp", "[::1]:0")
		}
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		other, err := net.Listen("tcp", net.JoinHostPort("::1", strconv.Itoa(port)))
		l.Close()
		if err == nil {
			other.Close()
		}
		if err == nil || i == tries { // the host may lack the other address
			return port, nil
		}
	}
}

// start starts a node. A dev node goes without the admin socket where that
// cannot be had.
func start(c node.Config) (*node.Node, error) {
	n, err := startOnce(c)
	if err == nil || !c.Dev || c.State == "" {
		return n, err
	}
	c.State = ""
	n, other := startOnce(c)
	if other == nil {
		c.Log.Warn("no admin socket", "error", err)
	}
	return n, other
}

func startOnce(c node.Config) (*node.Node, error) {
	n, err := node.New(c)
	if err != nil {
		return nil, err
	}
	if err := n.Start(); err != nil {
		return nil, err
	}
	return n, nil
}

// limit is the memory the process is to stay within.
func (o *nodeFlags) limit() int64 {
	if o.memory != 0 {
		return int64(o.memory)
	}
	return max(node.DefaultMemory(), leastMemory)
}

// memoryFrom tells what the memory to stay within is, and where that is from.
func (o *nodeFlags) memoryFrom(origin string) string {
	if o.memory != 0 {
		return octets(o.limit()) + ", by " + origin
	}
	host, from := node.HostMemory()
	return fmt.Sprintf("%s, for %s by %s", octets(o.limit()), octets(host), from)
}

// announce tells where programs attach, bounds the memory of the process, and
// has a dev node prove itself.
func (o *nodeFlags) announce(w io.Writer, n *node.Node, c node.Config, flags *pflag.FlagSet) error {
	s, err := n.Status()
	if err != nil {
		return err
	}
	memory := o.limit()
	debug.SetMemoryLimit(memory / 8 * 7) // the rest is for what the runtime does not count
	programs, files := node.DefaultPrograms()
	c.Log.Info("limits", "memory", o.memoryFrom(origin(flags.Lookup("memory"))), "programs", programs, "files", files)
	c.Log.Info("programs attach here", "relay", strings.Join(s.Relay, " "), "memory", octets(memory))
	if !o.dev {
		if log := c.Log.With("node", short(s.Node)); len(s.Address) > 0 {
			log.Info("other nodes reach this one here", "address", strings.Join(s.Address, " "))
		} else {
			log.Info("other nodes cannot dial this one: it dials them")
		}
		return nil
	}
	sentence, err := checkRelay(s.Relay[0])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "check: %s\n", sentence)
	return err
}
