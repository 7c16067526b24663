package conform

import "slices"

// Requirements returns the cases of the protocol document: at least one for
// each of R1 to R64, and what its tables say beyond the numbers.
func Requirements() []Case {
	return slices.Concat(
		connectionCases(),
		encodingCases(),
		handshakeCases(),
		closeCases(),
		lossCases(),
		dropCases(),
		broadcastCases(),
		topicCases(),
		requestCases(),
		buildCases(),
		chunkCases(),
		flowCases(),
		tunnelCloseCases(),
		limitCases(),
		inputCases(),
	)
}
