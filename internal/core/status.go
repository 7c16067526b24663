package core

import (
	"github.com/project-iris/iris/internal/directory"
	"github.com/project-iris/iris/internal/overlay"
)

// Nodes returns the other nodes that are known to be up, sorted.
func (c *Core) Nodes() []overlay.Known {
	if c.overlay == nil {
		return nil
	}
	return c.overlay.Nodes()
}

// Directory returns what the directory has counted.
func (c *Core) Directory() directory.Stats {
	if c.directory == nil {
		return directory.Stats{}
	}
	return c.directory.Stats
}
