package core

import (
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/overlay"
	"github.com/project-iris/iris/internal/wire"
)

// Nodes returns the other nodes that are known to be up, sorted.
func (c *Core) Nodes() []overlay.Known {
	if c.overlay == nil {
		return nil
	}
	return c.overlay.Nodes()
}

// Resolution returns how far this node is with the question which nodes have members
// of a name.
func (c *Core) Resolution(name wire.Name) directory.Resolution {
	if c.directory == nil {
		return directory.Resolution{}
	}
	return c.directory.Resolution(name)
}

// Directory returns what the directory has counted.
func (c *Core) Directory() directory.Stats {
	if c.directory == nil {
		return directory.Stats{}
	}
	return c.directory.Stats
}
