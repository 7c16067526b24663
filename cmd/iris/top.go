package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// What a terminal is told before the first frame and after the last: the other screen,
// no cursor, no lines that wrap.
const (
	screenOn  = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
	screenOff = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

func newTopCommand() *cobra.Command {
	var which chosenNode
	every, once := rateTime, false
	cmd := &cobra.Command{
		Use:     "top",
		Short:   "Watch what a node is doing, in the terminal",
		Example: "iris top\niris top --every 5s\niris top --once",
		Long: `Looks at a node again and again, and shows what passes each second: the clusters,
topics and links with most of it first, and what was dropped since top began. Asks a
node as "iris status" does.

TAKEN is requests and tunnel builds given to members of this node, PASSED ON those that
it gave to other nodes. Keys: q or Ctrl-C ends it. NO_COLOR in the environment does
without bold and colour.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return usageError{errors.New("--every is 100ms at least")}
			}
			out, ok := cmd.OutOrStdout().(*os.File)
			if screen := ok && isTerminal(out) && isTerminal(cmd.InOrStdin()) && os.Getenv("TERM") != "dumb"; !screen && !once {
				return usageError{errors.New(`iris top needs a terminal: "iris status --rates" and "iris top --once" do without`)}
			}
			n, err := which.find(cmd)
			if err != nil {
				return err
			}
			t := &top{node: n, every: every}
			if once {
				return t.once(cmd)
			}
			stop := untilSignal(cmd)
			defer stop()
			return t.run(cmd.Context(), out)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	which.flags(f)
	f.DurationVar(&every, "every", every, "`DURATION` between two looks")
	f.BoolVar(&once, "once", false, "write one frame as plain text")
	nameEnvironment(f)
	return cmd
}

// A top shows a node in a terminal.
type top struct {
	node  liveNode
	every time.Duration
	view  topView
}

// see takes what the node answered.
func (t *top) see(a answered) error {
	if a.err != nil {
		return a.err
	}
	s, err := readStatus(a.status)
	if err == nil {
		t.view.look(s, a.at)
	}
	return err
}

// once writes a frame.
func (t *top) once(cmd *cobra.Command) error {
	if err := t.see(answered{status: t.node.status, at: time.Now()}); err != nil {
		return err
	}
	t.view.hint = fmt.Sprintf("measured for %v", t.every)
	time.Sleep(t.every)
	if err := t.see(t.ask(cmd.Context())); err != nil {
		return err
	}
	var b strings.Builder
	for _, l := range t.view.frame(terminalWidth(cmd.OutOrStdout()), 0, time.Now()) {
		b.WriteString(l.text + "\n")
	}
	_, err := io.WriteString(cmd.OutOrStdout(), b.String())
	return err
}

// run shows frames until a key or the context ends it. The terminal is then as it was.
func (t *top) run(ctx context.Context, out *os.File) error {
	if err := t.see(answered{status: t.node.status, at: time.Now()}); err != nil {
		return err
	}
	t.view.hint = fmt.Sprintf("looks every %v; q ends it", t.every)
	in := int(os.Stdin.Fd())
	was, err := term.MakeRaw(in)
	if err != nil {
		return fmt.Errorf("switch the terminal over: %w", err)
	}
	defer term.Restore(in, was)
	fmt.Fprint(out, screenOn)
	defer fmt.Fprint(out, screenOff)

	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan answered)
	defer func() {
		cancel()
		for range answers {
		}
	}()
	go t.looks(ctx, answers)
	keys := make(chan byte)
	go readKeys(ctx, keys)
	resized := make(chan os.Signal, 1)
	notifyResized(resized)
	for {
		if err := t.draw(out); err != nil {
			return err
		}
		select {
		case a := <-answers:
			if err := t.see(a); err != nil {
				t.view.miss(err, a.at)
			}
		case k, ok := <-keys:
			if !ok || k == 'q' || k == 'Q' || k == ctrlC {
				return nil
			}
		case <-resized:
		case <-ctx.Done():
			return nil
		}
	}
}

const ctrlC = 3 // which is a key like others while the terminal is raw

// An answered is what came of asking the node.
type answered struct {
	status []byte
	err    error
	at     time.Time
}

// looks asks the node now and then until ctx is done. Then it closes answers.
func (t *top) looks(ctx context.Context, answers chan<- answered) {
	defer close(answers)
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case answers <- t.ask(ctx):
		case <-ctx.Done():
			return
		}
	}
}

func (t *top) ask(ctx context.Context) answered {
	status, err := t.node.ask(ctx, "/status")
	return answered{status, err, time.Now()}
}

// readKeys reads what is typed. It ends at the latest with the process: a read of a
// terminal cannot be called off.
func readKeys(ctx context.Context, keys chan<- byte) {
	defer close(keys)
	var b [1]byte
	for {
		if _, err := os.Stdin.Read(b[:]); err != nil {
			return
		}
		select {
		case keys <- b[0]:
		case <-ctx.Done():
			return
		}
	}
}

// sgr is how a terminal is told of looks.
var sgr = map[look]string{title: "\x1b[1m", alarm: "\x1b[1;31m"}

// draw writes a frame over the one before, all at once.
func (t *top) draw(out *os.File) error {
	width, height, err := term.GetSize(int(out.Fd()))
	if err != nil {
		return fmt.Errorf("ask the terminal for its size: %w", err)
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, l := range t.view.frame(width, max(height, 1), time.Now()) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		whole := cells(l.text) == width
		if on := sgr[l.look]; on != "" && os.Getenv("NO_COLOR") == "" {
			l.text = on + l.text + "\x1b[m"
		}
		b.WriteString(l.text)
		if !whole { // else the cursor still stands on the last cell
			b.WriteString("\x1b[K")
		}
	}
	b.WriteString("\x1b[J")
	_, err = io.WriteString(out, b.String())
	return err
}
