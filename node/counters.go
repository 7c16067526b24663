package node

import (
	"slices"
	"strconv"
	"strings"

	"github.com/project-iris/iris/internal/discovery"
	"github.com/project-iris/iris/internal/link"
	"github.com/project-iris/iris/internal/session"
)

// A family is what one metric counts, apart by one label.
type family struct {
	name  string // as docs/metrics.md has it; empty: it is in Status only
	label string // empty: it has one counter
	help  string
	of    []counter
}

// A counter is one figure that only grows.
type counter struct {
	value string // of the label
	count uint64
	in    list
	text  string // its key there
}

// A list is what Status shows counters in.
type list int

const (
	nowhere list = iota
	ended
	dropped
	droppedAbroad // dropped, if there are other nodes
	mended        // if there are other nodes, as are the next
	linksEnded
	tunnelsEnded
	packetsSent // of Discovery, as are the next
	packetsHeard
	packetsLeft
	dialsFound
)

// fill adds to m what Status shows in the lists.
func (r *reading) fill(m map[string]uint64, in ...list) {
	for _, f := range r.counters() {
		for _, c := range f.of {
			if slices.Contains(in, c.in) {
				m[c.text] = c.count
			}
		}
	}
}

// counters returns every counter of the node, those of what it has not among them, as
// they are now.
func (r *reading) counters() []family {
	n := r.n
	d, tries, hops, ends := &n.plane.Drops, &n.plane.Retries, &n.plane.Hops, &n.relay.Ends
	links, tunnels, dir := r.linkStats, r.tunnelStats, &r.directory
	return []family{
		{"iris_messages_sent_total", "primitive", "Messages that programs of this node sent.", []counter{
			{"request", r.totals.Requests, nowhere, ""},
			{"reply", r.totals.Replies, nowhere, ""},
			{"broadcast", r.totals.Broadcasts, nowhere, ""},
			{"event", r.totals.Events, nowhere, ""},
			{"tunnel", r.totals.Tunnels, nowhere, ""},
		}},
		{"iris_connection_closed_total", "reason", "Connections of programs that ended or were turned away.", []counter{
			{"orderly", ends.Orderly.Load(), ended, "orderly"},
			{"lost", ends.Lost.Load(), ended, "lost"},
			{"violation", ends.Violations.Load(), ended, "violation"},
			{"slow", ends.Slow.Load(), ended, "slow"},
			{"limit", ends.Limits.Load(), ended, "limit"},
			{"handshake", ends.Handshakes.Load(), ended, "handshake failed"},
			{"full", ends.Full.Load(), ended, "relay full"},
			{"foreign_user", n.refusals.Load(), ended, "foreign user"},
			{"drain", ends.Drained.Load(), nowhere, ""},
		}},

		{"iris_request_retries_total", "reason", "Requests handed to another member, since the one before provably did not start them.", []counter{
			{"busy", tries.Busy.Load(), nowhere, ""},
			{"gone", tries.Gone.Load(), nowhere, ""},
			{"draining", tries.Draining.Load(), nowhere, ""},
			{"turned_down", tries.TurnedDown.Load(), nowhere, ""},
			{"budget", tries.Budget.Load(), nowhere, ""},
			{"unwritten", tries.Unwritten.Load(), nowhere, ""},
			{"undelivered", tries.Undelivered.Load(), nowhere, ""},
			{"ended", tries.Ended.Load(), nowhere, ""},
		}},
		{"iris_request_refused_total", "reason", "Attempts of this node that others refused, or that never left it.", []counter{
			{"busy", d.RefusedBusy.Load(), mended, "attempts refused by other nodes: busy"},
			{"gone", d.RefusedGone.Load(), mended, "attempts refused by other nodes: member gone"},
			{"draining", d.RefusedDraining.Load(), mended, "attempts refused by other nodes: draining"},
			{"turned_down", d.TurnedDown.Load(), mended, "attempts turned down by busy nodes"},
			{"unwritten", d.Unwritten.Load(), mended, "attempts taken back: never written"},
		}},
		{"iris_request_refused_here_total", "", "Attempts of other nodes that this one refused.", []counter{
			{"", d.Refused.Load(), mended, "attempts refused by this node"},
		}},
		{"iris_request_unknown_total", "cause", "Requests of which nobody can say whether they ran.", []counter{
			{"lost", d.Lost.Load(), nowhere, ""},
			{"node_dead", d.NodeDead.Load(), nowhere, ""},
			{"silent", d.Silent.Load(), nowhere, ""},
			{"below_window", d.BelowWindow.Load(), mended, "attempts too old to tell"},
			{"undelivered", d.Unproved.Load(), nowhere, ""},
		}},
		{"", "", "", []counter{
			{"", d.Lost.Load() + d.NodeDead.Load(), dropped, "requests lost with their member"},
			{"", d.Expired.Load(), dropped, "expired before they were served"},
			{"", links.Expired.Load(), droppedAbroad, "requests whose time was up before they left"},
			{"", d.Gaps(), droppedAbroad, "messages declared lost to subscribers here"},
			{"", d.Overrun.Load() + d.Outrun.Load(), droppedAbroad, "messages missed by other nodes: they were not kept"},
		}},
		{"iris_request_unanswered_total", "cause", "Requests of programs of this node whose time was up.", []counter{
			{"timeout", d.TimedOut.Load(), nowhere, ""},
			{"no_member", d.Unreached.Load(), nowhere, ""},
			{"busy", d.Busy.Load(), nowhere, ""},
		}},
		{"iris_request_dropped_total", "cause", "Requests, answers and bodies of requests that were let go of.", []counter{
			{"expired", d.Expired.Load() + links.Expired.Load(), nowhere, ""},
			{"duplicate", d.Repeated.Load(), mended, "attempts that came again"},
			{"body", d.Parked.Load(), dropped, "parked bodies let go"},
			{"late_reply", d.LateReplies.Load(), dropped, "late replies"},
			{"window_evicted", d.Evicted.Load(), nowhere, ""},
			{"pending", d.Pending.Load(), dropped, "calls refused: too many pending"},
			{"unstarted", d.Unstarted.Load(), dropped, "requests not begun at the end"},
		}},

		{"iris_stream_gaps_total", "cause", "Events and broadcasts that were declared lost to members of this node.", []counter{
			{"hold_back_full", d.HeldBack.Load(), droppedAbroad, "messages missed: too much was held back for them"},
			{"no_progress", d.Waited.Load(), droppedAbroad, "messages missed: they did not come when asked for"},
			{"publisher_gone", d.PublisherGone.Load(), droppedAbroad, "messages missed: their node is gone"},
			{"not_kept", d.Declared.Load(), nowhere, ""},
		}},
		{"iris_stream_dropped_total", "cause", "Events and broadcasts that were let go of.", []counter{
			{"duplicate", d.Doubled.Load(), mended, "messages that came again"},
			{"unwanted", d.Unwanted.Load(), mended, "messages for names without members any more"},
			{"lane_dropping", d.Overrun.Load(), nowhere, ""},
			{"aborted", d.Aborted.Load(), nowhere, ""},
		}},
		{"iris_stream_repairs_total", "cause", "What was done about events and broadcasts that did not come.", []counter{
			{"nack", d.Nacks.Load(), mended, "messages asked for again"},
			{"replayed", d.Replayed.Load(), mended, "messages sent again: askings answered"},
			{"start_asked", d.Starts.Load(), nowhere, ""},
			{"overrun_in_check", d.Outrun.Load(), nowhere, ""},
		}},
		{"iris_lane_dropping_total", "", "Links that were full of events and broadcasts and did not move.", one(d.Standing.Load())},
		{"iris_seal_retries_exhausted_total", "cell", "Events and broadcasts whose cell was closed each time that it was found.", []counter{
			{"cluster", d.SealedClusters.Load(), nowhere, ""},
			{"topic", d.SealedTopics.Load(), nowhere, ""},
		}},
		{"iris_memory_shed_total", "pool", "What was let go of or refused as memory was short.", []counter{
			{"reassembly", links.NoMemory.Load(), droppedAbroad, "long messages given up: memory"},
			{"hold_back", d.Shed.Load(), nowhere, ""},
			{"rings", d.Unkept.Load(), nowhere, ""},
			{"bodies", d.Parked.Load(), nowhere, ""},
			{"tunnels", d.Tunnels.Load(), dropped, "tunnels refused: memory"},
			{"streams", d.Streams.Load(), droppedAbroad, "streams refused: too many"},
			{"names", d.Names.Load(), droppedAbroad, "messages refused: too many names in use"},
			{"nodes", d.Forgotten.Load(), droppedAbroad, "nodes that are gone forgotten early: too many"},
		}},
		{"iris_hints_dropped_total", "", "Hints of other nodes that were too many at once.", []counter{
			{"", d.Hints.Load(), droppedAbroad, "hints of other nodes let go: too many at once"},
		}},

		{"iris_directory_events_total", "cause", "What the directory did another way than the straight one.", []counter{
			{"redirect", dir.Redirects, mended, "directory: asked the wrong node"},
			{"redirect_limit", dir.RedirectLimits, mended, "directory: sent on too often"},
			{"incomplete", dir.Incomplete, mended, "directory: a new root did not know all yet"},
			{"mismatch", dir.Mismatches, mended, "directory: not what a node says it announced"},
			{"watcher_dropped", dir.WatchersDropped, droppedAbroad, "nodes not told of changes: too many watch the name"},
			{"unwanted", dir.Unwanted, mended, "directory: told of a node without members"},
			{"cell_limit", dir.Full, droppedAbroad, "directory: too many names, or nodes of one"},
			{"forgotten", dir.Forgotten, droppedAbroad, "names left forgotten early: too many"},
		}},
		{"iris_control_dropped_total", "cause", "Messages between control planes that were let go of.", []counter{
			{"no_way", r.lost, mended, "control messages: no way to their node yet"},
			{"forged", r.forged, droppedAbroad, "control messages that name this node as their own"},
		}},

		{"iris_frames_skipped_total", "", "Frames of a kind that this version does not know and may skip.", []counter{
			{"", links.Skipped.Load(), droppedAbroad, "frames of a kind this version does not know"},
		}},
		{"iris_frames_bad_total", "", "Frames that broke the protocol: each ended its link.", []counter{
			{"", links.Bad.Load(), droppedAbroad, "frames that broke the protocol"},
		}},
		{"iris_fragments_dropped_total", "cause", "Long messages given up before they were whole.", []counter{
			{"aborted", links.Aborted.Load(), droppedAbroad, "long messages given up: their sender did"},
			{"stalled", links.Stalled.Load(), droppedAbroad, "long messages given up: the rest did not come"},
		}},
		{"iris_routed_total", "what", "Messages that took more than one hop.", []counter{
			{"sent", hops.Sent.Load(), mended, "messages that others handed on for this node"},
			{"arrived", hops.Arrived.Load(), mended, "messages for this node handed on by others"},
			{"forwarded", hops.Forwarded.Load(), mended, "messages handed on for others"},
			{"undelivered", hops.Undelivered.Load(), mended, "messages of others given back to them: no way"},
			{"returned", hops.Returned.Load(), mended, "messages that no router could hand on"},
			{"no_room", links.Overflow.Load(), droppedAbroad, "messages handed on to routers: no room"},
			{"forged", hops.Forged.Load(), droppedAbroad, "messages handed on that are not of who they say"},
		}},
		{"iris_link_closed_total", "reason", "Links that ended.", r.linksClosed()},
		{"iris_link_renewed_total", "", "Connections of links that took the place of older ones, with new keys.", []counter{
			{"", links.Renewed.Load(), mended, "links with new keys"},
		}},
		{"iris_peer_anchor_total", "anchor", "Links that came up, by which accepted network key vouched: 0 is the node's own.", r.anchors()},
		{"iris_refused_total", "reason", "What was refused, by the code that docs/security.md explains.", r.refusals()},

		{"iris_tunnel_failed_total", "cause", "Steps that failed as tunnels to other nodes were to open.", []counter{
			{"dial", tunnels.Dial.Load(), mended, "tunnels: dials failed"},
			{"dial_back", tunnels.DialBack.Load(), mended, "tunnels: dials back failed"},
			{"attach_refused", tunnels.Refused.Load(), mended, "tunnels: connections not taken"},
			{"expired", tunnels.Expired.Load(), droppedAbroad, "tunnels to other nodes not opened in time"},
			{"limit", tunnels.Full.Load(), droppedAbroad, "tunnels to other nodes refused: too many"},
		}},
		{"iris_tunnel_closed_total", "reason", "Tunnels that ended: those to other nodes, and with program those that a program broke.", []counter{
			{"orderly", tunnels.Orderly.Load(), tunnelsEnded, "orderly"},
			{"lost", tunnels.Lost.Load(), tunnelsEnded, "lost"},
			{"violation", tunnels.Broken.Load(), tunnelsEnded, "violation"},
			{"key_limit", tunnels.Limit.Load(), tunnelsEnded, "key limit"},
			{"program", n.tunnels.Broken.Load(), dropped, "tunnels broken"},
		}},
		{"iris_tunnels_opened_total", "", "Tunnels that opened.", one(n.tunnels.Opened.Load())},

		{"iris_discovery_sent_total", "kind", "Packets sent to find other nodes.", append(packets(r.lan.Sent, packetsSent), counter{"failed", r.lan.Failed, packetsSent, "failed"})},
		{"iris_discovery_heard_total", "kind", "Packets of other nodes of the network.", packets(r.lan.Heard, packetsHeard)},
		{"iris_discovery_paused_total", "", "Times that a discovery socket was left to the system, as too much came.", []counter{
			{"", r.lan.Paused, packetsLeft, "left to the system: too many at once"},
		}},
		{"iris_discovery_dials_total", "outcome", "What came of the addresses that were found.", []counter{
			{"begun", r.finder.Dialled, dialsFound, "begun"},
			{"linked", r.finder.Linked, dialsFound, "linked"},
			{"refused", r.finder.Refused, dialsFound, "addresses nobody dials on another's word"},
			{"dropped", r.finder.Dropped, dialsFound, "given up for others: too many"},
		}},
		{"iris_discovery_found_total", "source", "Addresses found.", r.sources(func(s discovery.SourceStats) uint64 { return s.Found })},
		{"iris_discovery_failed_total", "source", "Attempts to find addresses that failed.", r.sources(func(s discovery.SourceStats) uint64 { return s.Failed })},
	}
}

// one is what a family without a label has.
func one(n uint64) []counter { return []counter{{"", n, nowhere, ""}} }

// linksClosed counts the links that ended, by why.
func (r *reading) linksClosed() (all []counter) {
	for why := range link.Reasons {
		all = append(all, counter{strings.ReplaceAll(why.String(), " ", "_"), r.linkStats.Closed[why].Load(), linksEnded, why.String()})
	}
	return all
}

// anchors counts the links that came up, by which key vouched.
func (r *reading) anchors() (all []counter) {
	keys := 1
	if w := r.n.network; w != nil {
		keys = len(w.identity.Fingerprints())
	}
	for i := range keys {
		all = append(all, counter{strconv.Itoa(i), r.linkStats.Anchors[i].Load(), nowhere, ""})
	}
	return all
}

// refusals counts what was refused, by code: each is 0 from the start. What data and
// control plane refuse, and packets that only come again, they count themselves.
func (r *reading) refusals() (all []counter) {
	d := &r.n.plane.Drops
	own := map[session.Code]uint64{
		session.UnixPeer:     r.n.refusals.Load(),
		session.RelayFull:    r.n.relay.Ends.Full.Load(),
		session.RelayNames:   r.n.names.Load(),
		session.RelayPending: d.Pending.Load(),
		session.RelayParked:  d.Parked.Load(),
		session.StreamFull:   d.Streams.Load(),
		session.WatchFull:    r.directory.WatchersDropped,
		session.PacketSelf:   r.lan.Refused[session.PacketSelf],
		session.PacketReplay: r.lan.Refused[session.PacketReplay],
	}
	for _, code := range session.Codes() {
		all = append(all, counter{string(code), r.refused[code] + own[code], nowhere, ""})
	}
	return all
}

// packets counts packets of the local network by kind.
func packets(n map[discovery.Kind]uint64, in list) []counter {
	return []counter{
		{"beacon", n[discovery.Beacon], in, "beacons"},
		{"probe", n[discovery.Probe], in, "probes"},
		{"answer", n[discovery.Answer], in, "answers"},
	}
}

// sources counts something of each source of addresses.
func (r *reading) sources(count func(s discovery.SourceStats) uint64) (all []counter) {
	for _, s := range r.finder.Sources {
		all = append(all, counter{s.Name, count(s), nowhere, ""})
	}
	return all
}
