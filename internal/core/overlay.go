package core

import "github.com/project-iris/iris/internal/overlay"

// Overlay returns what the core is stacked on, to be looked at: whoever changes it
// past the core leaves the rest behind. It is nil if the node is alone for good.
func (c *Core) Overlay() *overlay.Overlay { return c.overlay }
