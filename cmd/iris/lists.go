package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-iris/iris/node"
)

// A list is a command that shows one part of what a node answers: an array under the
// command's name.
type list struct {
	name, short, long string
	path              string // what the node is asked for
	none              string // what is said when there is nothing to show
	grid              func(answer json.RawMessage) (g *grid, more string, err error)
}

var lists = []list{
	{
		name:  "peers",
		short: "List the other nodes that a node knows",
		long: `Lists the other nodes of the network: whether there is a link to each, which node
hands on what goes there if not, and how many tunnels are open to programs there.`,
		path: "/status",
		none: "no other node is known",
		grid: ofStatus(peerGrid),
	},
	{
		name:  "clusters",
		short: "List the clusters that programs of a node are in or use",
		long: `Lists the clusters with members on the node, and those that its programs use:
the requests in the hands of the members here (LOAD), the requests and tunnel builds
given to them (TAKEN) and to other nodes (PASSED ON), broadcasts of programs here, and
which other nodes have members. Of a name that no program of the node uses that is not
known, and shown as -.`,
		path: "/status",
		none: "no cluster has members here or is used",
		grid: ofStatus(clusterGrid),
	},
	{
		name:  "topics",
		short: "List the topics that programs of a node subscribe or publish to",
		long: `Lists the topics with subscribers on the node, and those that its programs publish
to: events that programs here published, events that came from other nodes, and which
other nodes have subscribers. Of a topic that no program of the node uses that is not
known, and shown as -.`,
		path: "/status",
		none: "no topic has subscribers here or is used",
		grid: ofStatus(topicGrid),
	},
	{
		name:  "tunnels",
		short: "List the open tunnels of a node's programs",
		long: `Lists the tunnels that programs of the node have open, 1,000 at most: to a member of
which cluster, where it was built (BUILT), the node at the other end, and octets in
both directions. WAITING is what lies here as the end that receives does not take it:
its credit (CREDIT) says how much it would.`,
		path: "/tunnels",
		none: "no tunnels are open",
		grid: tunnelGrid,
	},
	{
		name:  "links",
		short: "List the links of a node to other nodes",
		long: `Lists the links to other nodes: who dialled, the round trip, octets since the link
is up, and how many wait for it.`,
		path: "/status",
		none: "there is no link to another node",
		grid: ofStatus(func(s *node.Status) *grid { return linkGrid(s, nil) }),
	},
}

// newListCommands returns the commands that show what a node does.
func newListCommands() (cmds []*cobra.Command) {
	for _, l := range lists {
		cmds = append(cmds, newListCommand(l))
	}
	return append(cmds, newTopCommand(), newMapCommand())
}

func newListCommand(l list) *cobra.Command {
	var (
		which  chosenNode
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     l.name,
		Short:   l.short,
		Example: fmt.Sprintf("iris %s\niris %[1]s --json", l.name),
		Long: l.long + `

Asks a node as "iris status" does. In a terminal that is narrow some columns are left
out, and long names are cut.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := which.ask(cmd, l.path)
			if err != nil {
				return err
			}
			return l.show(cmd, answer, asJSON)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	which.flags(f)
	f.BoolVar(&asJSON, "json", false, "write the list as JSON")
	nameEnvironment(f)
	return cmd
}

func (l *list) show(cmd *cobra.Command, answer json.RawMessage, asJSON bool) error {
	if asJSON {
		var parts map[string]json.RawMessage
		if err := json.Unmarshal(answer, &parts); err != nil {
			return fmt.Errorf("a node's answer: %w", err)
		}
		return writeIndented(cmd.OutOrStdout(), parts[l.name])
	}
	g, more, err := l.grid(answer)
	if err != nil {
		return err
	}
	if len(g.rows) > 0 {
		err = g.write(cmd.OutOrStdout(), terminalWidth(cmd.OutOrStdout()))
	} else if more == "" {
		more = l.none
	}
	if more != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), more)
	}
	return err
}

// ofStatus makes a list of a part of the status.
func ofStatus(part func(*node.Status) *grid) func(json.RawMessage) (*grid, string, error) {
	return func(answer json.RawMessage) (*grid, string, error) {
		s, err := readStatus(answer)
		if err != nil {
			return nil, "", err
		}
		return part(s), "", nil
	}
}

func clusterGrid(s *node.Status) *grid {
	g := &grid{columns: []column{{"CLUSTER", 0, true}, {"MEMBERS", 0, false}, {"LOAD", 0, false}, {"TAKEN", 0, false}, {"BROADCASTS", 3, false}}}
	if !s.Dev {
		g.columns = append(g.columns, column{"PASSED ON", 1, false}, column{"OTHER NODES", 2, false}, column{"ON", 4, true})
	}
	for _, n := range s.Clusters {
		g.row(printable(n.Name), n.Members, n.Load, n.Taken, n.Sent)
		if !s.Dev {
			g.add(n.Passed, elsewhere(n), onText(n))
		}
	}
	return g
}

func topicGrid(s *node.Status) *grid {
	g := &grid{columns: []column{{"TOPIC", 0, true}, {"SUBSCRIBERS", 0, false}, {"PUBLISHED", 0, false}}}
	if !s.Dev {
		g.columns = append(g.columns, column{"ARRIVED", 0, false}, column{"OTHER NODES", 1, false}, column{"ON", 2, true})
	}
	for _, n := range s.Topics {
		g.row(printable(n.Name), n.Members, n.Sent)
		if !s.Dev {
			g.add(n.Arrived, elsewhere(n), onText(n))
		}
	}
	return g
}

// elsewhere says how many other nodes have members.
func elsewhere(n node.NameStatus) string {
	if !n.Watched {
		return "-"
	}
	return fmt.Sprint(n.Nodes)
}

// onText names nodes that have members.
func onText(n node.NameStatus) string {
	if len(n.On) == 0 || !n.Watched {
		return "-"
	}
	var names []string
	for _, id := range n.On {
		names = append(names, short(id))
	}
	if n.Nodes > len(names) {
		names = append(names, "...")
	}
	return strings.Join(names, " ")
}

func peerGrid(s *node.Status) *grid {
	g := &grid{columns: []column{{"OTHER NODE", 0, false}, {"STATE", 2, false}, {"LINK", 0, false}, {"TUNNELS", 1, false}, {"ADDRESS", 0, true}}}
	for _, p := range s.Peers {
		g.row(short(p.Node), p.State, linkText(p), p.Tunnels, cmp.Or(strings.Join(p.Address, " "), "-"))
	}
	return g
}

// linkText says how another node is reached.
func linkText(p node.PeerStatus) string {
	link := "none yet"
	switch {
	case p.Linked:
		link = "yes"
	case p.Via != "":
		link = "by way of " + short(p.Via)
	}
	if p.Silent {
		link += ", silent"
	}
	return link
}

// linkGrid shows links; with rates, of which those of links may be nil, what passes now.
func linkGrid(s *node.Status, rates *statusRates) *grid {
	now := rates != nil && rates.Links != nil
	g := &grid{columns: []column{{"LINK TO", 0, false}, {"DIALLED", 4, true}, {"UP", 3, false}, {"ROUND TRIP", 2, false},
		{"RECEIVED", 0, false}, {"SENT", 0, false}, {"WAITING", 1, false}}}
	if now {
		g.columns = append(g.columns, column{"RECEIVED NOW", 0, false}, column{"SENT NOW", 0, false})
	}
	if len(s.Keys) > 1 {
		g.columns = append(g.columns, column{"KEY", 5, false})
	}
	g.columns = append(g.columns, column{"SOFTWARE", 6, true})
	for _, l := range s.Links {
		dialled := "from " + l.Address
		if l.Dialled {
			dialled = "at " + l.Address
		}
		g.row(short(l.Node), dialled, since(l.Since), fmt.Sprintf("%.2f ms", l.RTT),
			octets(int64(l.Received)), octets(int64(l.Sent)), octets(waits(l.Waiting)))
		if now {
			r := rates.Links[l.Node]
			g.add(octets(int64(r.Received))+"/s", octets(int64(r.Sent))+"/s")
		}
		if len(s.Keys) > 1 {
			g.add(l.Key + 1)
		}
		g.add(printable(l.Software))
	}
	return g
}

// waits returns how much waits in all lanes.
func waits(l node.LaneStatus) int64 {
	return int64(l.Control + l.Routed + l.Requests + l.Publications + l.Bulk)
}

func tunnelGrid(answer json.RawMessage) (g *grid, more string, err error) {
	var l node.TunnelList
	if err := json.Unmarshal(answer, &l); err != nil {
		return nil, "", fmt.Errorf("a node's answer: %w", err)
	}
	g = &grid{columns: []column{{"CLUSTER", 0, true}, {"BUILT", 2, false}, {"OTHER END", 0, false}, {"OPEN FOR", 1, false},
		{"TO MEMBER", 0, false}, {"FROM MEMBER", 0, false}, {"WAITING", 3, false}, {"CREDIT", 4, false}, {"BUILDER", 5, true}}}
	for _, t := range l.Tunnels {
		built := "there"
		if t.Here {
			built = "here"
		}
		g.row(printable(t.Cluster), built, cmp.Or(short(t.Node), "this node"), since(t.Since),
			octets(int64(t.ToMember.Octets)), octets(int64(t.FromMember.Octets)), octets(int64(t.ToMember.Waiting+t.FromMember.Waiting)),
			credit(t.ToMember)+", "+credit(t.FromMember), builder(t))
	}
	if l.Open > len(l.Tunnels) {
		more = fmt.Sprintf("%d tunnels are open in all", l.Open)
	}
	return g, more, nil
}

// credit says how much the end that receives takes.
func credit(f node.TunnelFlow) string {
	if f.Messages {
		return fmt.Sprintf("%d messages", f.Credit)
	}
	return octets(int64(f.Credit))
}

// builder names who built a tunnel, as far as it has a name.
func builder(t node.TunnelStatus) string {
	switch {
	case t.Builder != "":
		return printable(t.Builder)
	case t.Here:
		return "a client"
	}
	return "-"
}

// since says for how long something is up.
func since(t time.Time) string { return time.Since(t).Truncate(time.Second).String() }
