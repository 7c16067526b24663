package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/project-iris/iris/internal/core"
	"github.com/project-iris/iris/internal/ring"
)

const (
	lateAfter = 100 * time.Millisecond // from subscribing to publishing
	lateApart = 500 * time.Millisecond
	lateLimit = 10 * time.Second // until it is there
)

// lates are what became of the programs that subscribed late.
type lates struct {
	all, missed int
	took        sample
}

// planLate plans that a program subscribes and another node publishes a moment later,
// to a topic that was in use before, or to a new one; of every fourth the root dies in
// between, where there are enough nodes. It returns when that is over.
func (w *world) planLate(i int, from instant) (end instant) {
	at := from + instant(i)*lateApart
	topic := fmt.Sprintf("late-%d", i/2) // each twice: new, and in use
	w.at(at, func() { w.late(topic, i%4 == 3 && w.Size > 2) })
	return at + lateLimit
}

func (w *world) late(topic string, kill bool) {
	pair := w.sample(2)
	from, to := pair[0], pair[1]
	if !isActive(from) || !isActive(to) {
		return
	}
	root := ownerAmong(w.active(), ring.Key(network, byte(core.Topic), topic, 0))
	began := w.now
	var took time.Duration
	p := to.connect("", topic)
	p.hear = func(body []byte) error {
		if instant(binary.BigEndian.Uint64(body)) == began {
			took = w.now - began - lateAfter
		}
		return nil
	}
	if kill && root != from && root != to {
		w.after(w.jitter(2*lateAfter), func() {
			if root.alive && len(w.alive) > 2 {
				w.found.victim(w, root)
				root.kill(false)
				w.start(w.some(isActive))
			}
		})
	}
	q := from.connect("")
	w.after(lateAfter, func() {
		from.turn(func(now time.Time, m *machine) {
			q.conn.Publish(now, &m.batch, []byte(topic), binary.BigEndian.AppendUint64(nil, uint64(began)))
		})
	})
	w.after(lateLimit-time.Millisecond, func() {
		if from.alive {
			q.close()
		}
		if to.alive {
			p.close()
		}
		if !from.alive || !to.alive {
			return
		}
		w.lates.all++
		if took == 0 {
			w.lates.missed++
			w.violated(to, "M7: %s got nothing that %s published to %s, 100 ms after it subscribed", to.id.Short(), from.id.Short(), topic)
			return
		}
		w.lates.took.add(took.Seconds())
	})
}

func (w *world) addLate(add func(name string, v float64, unit string)) {
	add("subscribed late", float64(w.lates.all), "")
	add("missed", float64(w.lates.missed), "")
	add("late delivery p50", w.lates.took.quantile(0.5), "s")
	add("late delivery max", w.lates.took.quantile(1), "s")
}
