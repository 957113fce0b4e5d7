// Package wire joins the privileged child to the plane: [Serve] stands in the child, in front of its kernel.Sensor; [Client]
// is that sensor in the process that judges. They share a [Link] of two stream sockets:
//
//   - Records: what was seen, from the child to the plane, as package record has it and nothing else. Records are not encoded anew,
//     and say their own size.
//   - Control: frames in both directions. The plane asks for Watch, Guard, Container, Executable, Do, Status; the child asks a gate's
//     question; each is answered under its number.
//
// A frame is 12 bytes (payload's size as uint32, kind as uint8, outcome as uint8, two zero bytes, number as uint32; little endian) and
// its payload: JSON, and for a gate's question the gate as one byte and the record. Every request begins with a uint32: milliseconds that it may take.
//
// Neither end believes the other. The child does for the plane only what [Serve] says; whoever has taken over the plane has that and no more. The plane
// decodes what the child sends as it would decode a stranger's. All that waits is bounded: where the plane is slow, records are
// dropped in the child, counted by kind, and told of by a record of KindLost.
package wire
