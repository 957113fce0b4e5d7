// Package edge guards north-south traffic: a reverse proxy that judges each
// request before it is forwarded.
//
// An [Edge] listens, sorts out who the client is, turns every request into an event,
// hands the event to a [signal.Sink] and obeys the verdict where the route's mode is
// "block". It knows no policy: an optional [Inspector] (the web application firewall)
// says what it found, and that becomes fields of the event. The response becomes a second
// event whose Parent is the first.
//
// What it promises:
//
//   - The message that was judged is the message that the upstream gets. HTTP/1 messages
//     whose length two parsers could read differently are refused before net/http sees
//     their end ([RFC 9112] sections 2.2, 5.2, 6.1, 6.3, 7.1), the path is forwarded as received, and
//     hop-by-hop fields never pass ([RFC 9110] section 7.6.1).
//   - Values that may be secrets are masked in the recorded form of the event from the
//     first event on; see docs/edge.md for the exact list.
//   - Every table, buffer and queue is bounded; what is refused or left out is counted
//     by reason ([Status], and the metric testudo_edge_rejected_total).
//   - New starts nothing. Run owns its goroutines and returns when they are gone; the only
//     other goroutines belong to exchanges, and end with them.
//
// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110
// [RFC 9112]: https://www.rfc-editor.org/rfc/rfc9112
package edge
