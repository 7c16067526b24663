package main

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"

	"github.com/project-iris/iris/node"
)

// A dot of a drawing is a node, a cluster or a topic; a stroke goes from one to another.
type (
	dot struct {
		id    string
		kind  byte // n, c or t
		lines []string
	}
	stroke struct {
		from, to string
		kind     byte // of a link l, of a use u, to members m, of tunnels t
		text     string
	}
)

// drawing returns what all formats of pictures show.
func (p *picture) drawing() (dots []dot, strokes []stroke) {
	p.sorted()
	nodes := make(map[string]string)
	for i, n := range p.Nodes {
		id := fmt.Sprintf("n%d", i)
		nodes[n.Node] = id
		dots = append(dots, dot{id, 'n', []string{nodeName(n.Node), visible(stateText(n))}})
	}
	place := func(id string) string { // of a node that no other knows any more too
		if nodes[id] == "" {
			nodes[id] = fmt.Sprintf("n%d", len(nodes))
			dots = append(dots, dot{nodes[id], 'n', []string{nodeName(id)}})
		}
		return nodes[id]
	}
	for _, l := range p.Links {
		strokes = append(strokes, stroke{place(l.A), place(l.B), 'l', linkOctets(l)})
	}
	clusters := make(map[string]string)
	draw := func(kind byte, names []*mapName, what, members string) {
		for i, n := range names {
			id := fmt.Sprintf("%c%d", kind, i)
			d := dot{id, kind, []string{what + " " + printable(n.Name)}}
			if n.More > 0 {
				d.lines = append(d.lines, fmt.Sprintf("%s on %s more", members, many(n.More, "node")))
			}
			dots = append(dots, d)
			if kind == 'c' {
				clusters[n.Name] = id
			}
			for _, u := range n.Users {
				strokes = append(strokes, stroke{place(u), id, 'u', ""})
			}
			for _, m := range n.Members {
				strokes = append(strokes, stroke{id, place(m.Node), 'm', memberText(m, members)})
			}
		}
	}
	draw('c', p.Clusters, "cluster", "members")
	draw('t', p.Topics, "topic", "subscribers")
	for _, t := range p.Tunnels {
		strokes = append(strokes, stroke{place(t.From), clusters[t.Cluster], 't', tunnelText(t)})
	}
	return dots, strokes
}

// dot draws for Graphviz.
func (p *picture) dot() string {
	dots, strokes := p.drawing()
	var b strings.Builder
	b.WriteString("digraph iris {\n\trankdir=LR;\n\tnode [shape=box];\n")
	shapes := map[byte]string{'n': "box", 'c': "ellipse", 't': "hexagon"}
	styles := map[byte]string{'l': "dir=both", 'u': "style=dashed", 'm': "style=solid", 't': "style=bold"}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;")
	for _, d := range dots {
		for i := range d.lines {
			d.lines[i] = quote.Replace(d.lines[i])
		}
		fmt.Fprintf(&b, "\t%s [shape=%s, label=\"%s\"];\n", d.id, shapes[d.kind], strings.Join(d.lines, `\n`))
	}
	for _, s := range strokes {
		fmt.Fprintf(&b, "\t%s -> %s [%s, label=\"%s\"];\n", s.from, s.to, styles[s.kind], quote.Replace(s.text))
	}
	b.WriteString("}\n")
	return b.String()
}

// mermaid draws for Mermaid.
func (p *picture) mermaid() string {
	dots, strokes := p.drawing()
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	shapes := map[byte]string{'n': `["%s"]`, 'c': `(["%s"])`, 't': `{{"%s"}}`}
	lines := map[byte]string{'l': "<-->", 'u': "-.->", 'm': "-->", 't': "==>"}
	for _, d := range dots {
		for i := range d.lines {
			d.lines[i] = entities(d.lines[i])
		}
		fmt.Fprintf(&b, "    %s"+shapes[d.kind]+"\n", d.id, strings.Join(d.lines, "<br>"))
	}
	for _, s := range strokes {
		text := ""
		if s.text != "" {
			text = fmt.Sprintf(`|"%s"|`, entities(s.text))
		}
		fmt.Fprintf(&b, "    %s %s%s %s\n", s.from, lines[s.kind], text, s.to)
	}
	return b.String()
}

// entities writes all that could mean something to Mermaid by its number.
func entities(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || strings.ContainsRune(" .,:-_/", r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}

// text draws a tree.
func (p *picture) text() string {
	p.sorted()
	var b strings.Builder
	fmt.Fprintln(&b, "network", networkName(&node.Status{Network: p.Network, Dev: p.Network == ""}))
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "  %s, %s\n", nodeName(n.Node), visible(strings.Join(append([]string{stateText(n)}, n.Address...), ", ")))
		for _, l := range p.Links {
			if l.A == n.Node {
				fmt.Fprintf(&b, "    link to %s: %s\n", nodeName(l.B), linkOctets(l))
			}
		}
	}
	write := func(names []*mapName, what, members string) {
		for _, n := range names {
			fmt.Fprintf(&b, "  %s %s\n", what, printable(n.Name))
			for _, u := range n.Users {
				fmt.Fprintf(&b, "    used by %s\n", nodeName(u))
			}
			for _, m := range n.Members {
				fmt.Fprintf(&b, "    %s on %s\n", memberText(m, members), nodeName(m.Node))
			}
			if n.More > 0 {
				fmt.Fprintf(&b, "    %s on %s more\n", members, many(n.More, "node"))
			}
			for _, t := range p.Tunnels {
				if what == "cluster" && t.Cluster == n.Name {
					fmt.Fprintf(&b, "    %s from %s to %s\n", tunnelText(t), nodeName(t.From), nodeName(t.To))
				}
			}
		}
	}
	write(p.Clusters, "cluster", "members")
	write(p.Topics, "topic", "subscribers")
	return b.String()
}

func nodeName(id string) string { return "node " + cmp.Or(visible(short(id)), "of this host") }

func stateText(n mapNode) string {
	if n.Told {
		return n.State + ", " + many(n.Programs, "program")
	}
	return n.State
}

func linkOctets(l mapLink) string {
	text := fmt.Sprintf("%s there, %s back", octets(int64(l.FromA)), octets(int64(l.FromB)))
	if l.Tunnels > 0 {
		text += ", " + many(l.Tunnels, "tunnel")
	}
	return text
}

func memberText(m mapMember, members string) string {
	if m.Members == 0 {
		return members
	}
	return many(m.Members, strings.TrimSuffix(members, "s"))
}

func tunnelText(t mapTunnel) string {
	return fmt.Sprintf("%s, %s there, %s back", many(t.Tunnels, "tunnel"), octets(int64(t.ToMember)), octets(int64(t.FromMember)))
}

// many says how many there are.
func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
