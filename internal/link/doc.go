// Package link keeps the links of a node: to each of the nodes it is linked to,
// one connection for control and, from the first message on, one for data, so that
// no payload stands in the way of control. It dials and accepts them, settles who
// wins when both sides dial, writes what waits in their lanes, joins what was cut,
// and renews them before their keys are worn out. What the frames mean is its
// handler's business.
//
// It follows docs/messaging.md, Links and Frames, and docs/security.md, First
// frames and Key limits.
package link
