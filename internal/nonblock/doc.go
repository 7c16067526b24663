// Package nonblock writes to connections as far as that is possible without waiting.
package nonblock

import "errors"

// ErrAgain says that a write would have had to wait.
var ErrAgain = errors.New("write would block")
