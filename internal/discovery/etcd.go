package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/project-iris/iris/internal/wire"
)

// EtcdPort is where etcd serves its clients unless told otherwise.
const EtcdPort = "2379"

const (
	etcdLease  = 30 * time.Second // that an entry outlives its node
	etcdRenew  = time.Hour        // until an entry is written anew: one older than maxSkew counts for nothing
	etcdOffer  = 30 * time.Second // until all that is not known is handed over again
	etcdSoon   = time.Second      // until a new entry is: by then most newcomers have found us
	etcdCall   = 5 * time.Second  // for an answer
	etcdBye    = time.Second      // for the last one
	etcdLook   = time.Minute      // until it is looked again whether this host has one
	etcdLeast  = time.Second      // between attempts, doubling
	etcdMost   = 30 * time.Second
	etcdPage   = 256 // entries in an answer
	etcdSize   = 4 << 20
	etcdHosts  = 16 // of its members
	etcdMember = 4  // addresses of one
)

// EtcdConfig is what an Etcd needs. Knows, Seal and Open are as for packets.
type EtcdConfig struct {
	Config
	URLs  []string        // of its members, as EtcdURL returns them; none: one on this host, where there is one
	Tags  func() []string // of the network: its entries are under each of them, our own under the first
	State func() State
	Port  uint16 // where a node on the host of a member listens, if there is one
	Log   *slog.Logger
}

// Etcd is the Source of the nodes that have an entry in an etcd, and keeps one of our
// own there. What it reads there anybody may have written: only what was sealed with
// the network's key counts.
type Etcd struct {
	trouble
	c       EtcdConfig
	lease   time.Duration
	changed chan struct{}
}

// NewEtcd returns the source.
func NewEtcd(c EtcdConfig) *Etcd {
	return &Etcd{c: c, lease: etcdLease, changed: make(chan struct{}, 1)}
}

// EtcdURL returns the URL of a member of an etcd in full, or what is wrong with it.
func EtcdURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "", fmt.Errorf("%q is not the URL of an etcd: give http://HOST:%s, or https", text, EtcdPort)
	case u.User != nil:
		return "", fmt.Errorf("the URL of the etcd at %s has a user in it, who would be seen in logs: leave that out", u.Host)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("the URL of an etcd has nothing behind HOST:PORT: leave out what %q has", text)
	}
	port := u.Port()
	if port == "" {
		port = EtcdPort
	}
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port), nil
}

// Name implements Source.
func (*Etcd) Name() string { return "etcd" }

// Changed says that State returns something else now. It does not block.
func (e *Etcd) Changed() { signal(e.changed) }

// Run implements Source.
func (e *Etcd) Run(ctx context.Context, found func(Found)) error {
	pause := etcdLeast
	for {
		s := &etcdSession{Etcd: e, found: found, entries: make(map[string]Found), wrong: make(map[string]error)}
		began := time.Now()
		err := s.run(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			continue
		case len(e.c.URLs) == 0:
			e.setTrouble(nil) // it need not be there
			e.c.Log.Debug("no etcd of this host helps to find other nodes", "error", err)
			pause = etcdLook
		default:
			e.note(e.c.Log, e.Name(), fmt.Errorf("%s: %w", strings.Join(e.c.URLs, " "), err))
			if time.Since(began) > etcdMost {
				pause = etcdLeast
			}
		}
		rest(ctx, pause)
		pause = min(2*pause, etcdMost)
	}
}

// An etcdSession is our lease, and what others have in etcd, as long as it answers.
type etcdSession struct {
	*Etcd
	found  func(Found)
	client *clientv3.Client

	tags    []string
	granted clientv3.LeaseID
	told    []wire.Addr // what our entry says
	renew   time.Time   // when it is to be written anew
	entries map[string]Found
	wrong   map[string]error // entries of which nothing comes, and why
	members []Found
}

func (s *etcdSession) run(ctx context.Context) (err error) {
	urls := s.c.URLs
	if len(urls) == 0 {
		urls = []string{"http://" + net.JoinHostPort("127.0.0.1", EtcdPort)}
	}
	s.client, err = clientv3.New(clientv3.Config{
		Endpoints: urls,
		Logger:    zap.NewNop(), // what it has to say comes as errors, too

		DialOptions:        []grpc.DialOption{grpc.WithChainUnaryInterceptor(failAtOnce)},
		MaxUnaryRetries:    1,
		MaxCallSendMsgSize: etcdSize,
		MaxCallRecvMsgSize: etcdSize,
	})
	if err != nil {
		return err
	}
	defer s.client.Close()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	alive, err := s.enter(ctx)
	if s.granted != 0 {
		defer s.leave(ctx)
	}
	if err != nil {
		return err
	}
	events := make(chan clientv3.WatchResponse)
	for _, tag := range s.tags { // our entry is there: of two that start at once, one sees the other
		prefix := etcdPrefix(tag)
		revision, err := s.list(ctx, prefix)
		if err != nil {
			return fmt.Errorf("read its entries: %w", err)
		}
		watch := s.client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
		running.Go(func() { pass(ctx, watch, events) })
	}
	s.seeds(ctx, urls)
	timer, due := time.NewTimer(0), time.Now()
	defer timer.Stop()
	for {
		select {
		case _, ok := <-alive:
			if !ok {
				return errors.New("it does not answer any more, or has lost our entry")
			}
		case r := <-events:
			if err := r.Err(); err != nil || r.Canceled {
				return fmt.Errorf("watch its entries: %w", err)
			}
			for _, event := range r.Events {
				if event.Type == clientv3.EventTypeDelete {
					s.forget(string(event.Kv.Key))
				} else {
					s.take(string(event.Kv.Key), event.Kv.Value)
				}
			}
			if soon := time.Now().Add(rand.N(etcdSoon)); soon.Before(due) {
				due = soon
				timer.Reset(time.Until(due))
			}
		case <-s.changed:
			if err := s.tell(ctx); err != nil {
				return err
			}
		case now := <-timer.C:
			if !slices.Equal(s.tags, s.c.Tags()) {
				return nil // the network's keys were changed
			}
			if !now.Before(s.renew) {
				s.told = nil
			}
			if err := s.tell(ctx); err != nil {
				return err
			}
			s.note(s.c.Log, s.Name(), s.skipped())
			s.offer()
			due = time.Now().Add(etcdOffer/2 + rand.N(etcdOffer))
			timer.Reset(time.Until(due))
		case <-ctx.Done():
			return nil
		}
	}
}

// failAtOnce has a call fail that cannot be made now: to wait gives an error that does
// not say why.
func failAtOnce(ctx context.Context, method string, req, reply any, c *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return call(ctx, method, req, reply, c, append(opts, grpc.WaitForReady(false))...)
}

// pass hands on what a watch says. It ends with a response that is an error.
func pass(ctx context.Context, watch clientv3.WatchChan, events chan<- clientv3.WatchResponse) {
	for {
		r, ok := <-watch
		if !ok {
			r = clientv3.WatchResponse{Canceled: true, CancelReason: "it has ended"}
		}
		select {
		case events <- r:
		case <-ctx.Done():
			return
		}
		if !ok {
			return
		}
	}
}

func etcdPrefix(tag string) string { return "/iris/" + tag + "/" }

func (s *etcdSession) key() string { return etcdPrefix(s.tags[0]) + s.c.Self.String() }

// enter gets a lease, which is kept until ctx ends, and writes our entry.
func (s *etcdSession) enter(ctx context.Context) (<-chan *clientv3.LeaseKeepAliveResponse, error) {
	s.tags = s.c.Tags()
	soon, cancel := context.WithTimeout(ctx, etcdCall)
	defer cancel()
	granted, err := s.client.Grant(soon, int64(s.lease/time.Second))
	if err != nil {
		return nil, err
	}
	s.granted = granted.ID
	alive, err := s.client.KeepAlive(ctx, s.granted)
	if err != nil {
		return nil, err
	}
	return alive, s.tell(ctx)
}

// leave takes our entry away, within a moment: else it goes with the lease.
func (s *etcdSession) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), etcdBye)
	defer cancel()
	if _, err := s.client.Revoke(ctx, s.granted); err != nil {
		s.c.Log.Debug("our entry in etcd is left to its lease", "error", err)
	}
}

// tell writes where we are, if that is not what our entry says.
func (s *etcdSession) tell(ctx context.Context) (err error) {
	state := s.c.State()
	if slices.Equal(s.told, state.Addrs) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, etcdCall)
	defer cancel()
	if len(state.Addrs) == 0 {
		_, err = s.client.Delete(ctx, s.key())
	} else {
		p := Packet{Kind: Entry, State: state.State, Nodes: uint32(state.Nodes), Time: s.c.wall(time.Now()), Node: s.c.Self, Addrs: state.Addrs}
		_, err = s.client.Put(ctx, s.key(), string(s.c.Seal(p.Append(nil))), clientv3.WithLease(s.granted))
	}
	if err != nil {
		return fmt.Errorf("write our entry: %w", err)
	}
	s.told, s.renew = slices.Clone(state.Addrs), time.Now().Add(etcdRenew)
	return nil
}

// list takes in the entries there are. What comes after the revision is news.
func (s *etcdSession) list(ctx context.Context, prefix string) (revision int64, err error) {
	from, end, limit := prefix, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), int64(etcdPage)
	for n := 0; ; {
		soon, cancel := context.WithTimeout(ctx, etcdCall)
		r, err := s.client.Get(soon, from, end, clientv3.WithLimit(limit))
		large := status.Code(err) == codes.ResourceExhausted
		if large && limit == 1 { // the value is: it is none of ours
			r, err = s.client.Get(soon, from, end, clientv3.WithLimit(limit), clientv3.WithKeysOnly())
		}
		cancel()
		if large && limit > 1 {
			limit /= 4
			continue
		}
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = r.Header.Revision
		}
		for _, kv := range r.Kvs {
			from = string(kv.Key) + "\x00"
			s.take(string(kv.Key), kv.Value)
		}
		if n += len(r.Kvs); !r.More || n >= mostTargets {
			return revision, nil
		}
	}
}

// take takes in an entry.
func (s *etcdSession) take(key string, value []byte) {
	if key == s.key() {
		return
	}
	s.forget(key)
	f, err := s.open(key, value)
	if err == nil && len(s.entries) >= mostTargets {
		err = fmt.Errorf("there are more than %d", mostTargets)
	}
	switch {
	case err == nil:
		s.entries[key] = f
	case len(s.wrong) < mostTargets:
		s.wrong[brief(key)] = err
	}
}

func (s *etcdSession) forget(key string) {
	delete(s.entries, key)
	delete(s.wrong, brief(key))
}

// brief returns as much of a key as is kept of those that no node made.
func brief(key string) string { return key[:min(len(key), 128)] }

// open reads an entry, of which no octet is trusted.
func (s *etcdSession) open(key string, value []byte) (f Found, err error) {
	if len(value) != PacketSize {
		return f, fmt.Errorf("%w: %d octets, want %d", errForm, len(value), PacketSize)
	}
	plain, _, ok := s.c.Open(value)
	if !ok {
		return f, errors.New("not sealed with the network's key")
	}
	p, err := Parse(plain)
	switch {
	case err != nil:
		return f, err
	case p.Kind != Entry:
		return f, errVersion
	case !strings.HasSuffix(key, "/"+p.Node.String()):
		return f, errors.New("it is under the id of another node")
	case s.c.wall(time.Now()).Sub(p.Time).Abs() > maxSkew:
		return f, fmt.Errorf("the clock of the node says %v", p.Time)
	}
	f.Node = p.Node
	for _, a := range p.Addrs {
		f.Addrs = append(f.Addrs, a.AddrPort)
	}
	return f, nil
}

// skipped names one of the entries of which nothing comes; nil: there is none.
func (s *etcdSession) skipped() error {
	if len(s.wrong) == 0 {
		return nil
	}
	key := slices.Min(slices.Collect(maps.Keys(s.wrong)))
	return fmt.Errorf("%d entries of which nothing comes are skipped, as %q: %w", len(s.wrong), key, s.wrong[key])
}

// seeds are where nodes may be on the hosts of the members of etcd.
func (s *etcdSession) seeds(ctx context.Context, urls []string) {
	ctx, cancel := context.WithTimeout(ctx, etcdCall)
	defer cancel()
	if r, err := s.client.MemberList(ctx); err == nil { // not all may ask that
		for _, m := range r.Members {
			urls = slices.Concat(urls, m.ClientURLs, m.PeerURLs)
		}
	}
	var hosts []string
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || len(hosts) == etcdHosts || slices.Contains(hosts, u.Hostname()) {
			continue
		}
		hosts = append(hosts, u.Hostname())
		ips, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
		for _, ip := range ips[:min(len(ips), etcdMember)] {
			if ip = ip.Unmap(); !ip.IsLoopback() && !ip.IsUnspecified() {
				s.members = append(s.members, Found{Addrs: []netip.AddrPort{netip.AddrPortFrom(ip, s.c.Port)}})
			}
		}
	}
}

// offer hands over what is not known.
func (s *etcdSession) offer() {
	for _, f := range s.entries { // in any order, so that newcomers do not all dial the same
		if len(f.Addrs) > 0 && !s.c.Knows(f.Node) {
			s.found(f)
		}
	}
	if s.c.State().Alone {
		for _, f := range s.members {
			s.found(f)
		}
	}
}

var _ Source = (*Etcd)(nil)
