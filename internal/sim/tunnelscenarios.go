package sim

import "time"

// TunnelScenarios are those in which programs talk through tunnels, too.
func TunnelScenarios(size int) []Scenario {
	base := Scenario{
		Size: size, Growth: 100, Network: lan, Settle: 10 * time.Second,
		Calm: 40 * time.Second, // an agreement has ten, and a connection that is cut fifteen
		Traffic: Traffic{
			For: 16 * time.Second, Rate: 2, Tunnels: 0.3, Octets: 50_000, Turnover: 3 * time.Second,
			Slow: 0.05, Handler: 10 * time.Millisecond, Timeout: 2 * time.Second,
		},
	}
	with := func(name, text string, f ...Fault) Scenario {
		s := base
		s.Name, s.Text, s.Faults = "tunnels-"+name, "programs talk through tunnels, and "+text, f
		for i := range f {
			s.Faults[i].At += 2 * time.Second
		}
		return s
	}
	lossless := func(s Scenario) Scenario {
		s.Traffic.Slow, s.Traffic.Timeout, s.Traffic.Lossless = 0, 5*time.Second, true
		return s
	}
	far := func(s Scenario) Scenario {
		s.Name, s.Network = s.Name+"-wan", wan
		return s
	}
	resets := Fault{Kind: Reset, Share: 0.1, For: 200 * time.Millisecond, Repeat: 60}
	oneWay := Fault{Kind: OneWay, Share: 0.1, For: 4 * time.Second, Repeat: 2}
	freeze := Fault{Kind: Freeze, Count: 1, Share: 0.05, At: time.Second, For: 2 * time.Second, Repeat: 5}
	kill := Fault{Kind: Kill, Count: 1, At: 4 * time.Second}
	still := lossless(with("static", "nothing breaks"))
	still.Traffic.Turnover = 0
	drain := lossless(with("drain", "nodes are stopped", Fault{Kind: Stop, Count: 1, Share: 0.05, For: 6 * time.Second, Repeat: 1}))
	drain.Traffic.Turnover = 0
	return []Scenario{
		still,
		far(still),
		drain,
		with("turnover", "they come and go"),
		with("resets", "connections break", resets),
		far(with("resets", "connections break, at 60 ms", resets)),
		with("kill", "processes die", Fault{Kind: Kill, Count: 1, For: 5 * time.Second, Repeat: 1}),
		with("crash", "hosts die", Fault{Kind: Crash, Count: 1, For: 5 * time.Second, Repeat: 1}),
		with("freeze", "processes stand still", freeze),
		with("one-way", "pairs do not hear each other one way", oneWay),
		with("all", "everything breaks", resets, oneWay, freeze, kill,
			Fault{Kind: Stop, Count: 1, At: 8 * time.Second}),
	}
}
