// Package chain joins what happens on a host to the request that caused it, by identifiers alone.
//
// The edge says of each request by which connection it goes and with which byte of it it begins, before that byte is written
// ([Table.Forwarded]). The sensor says which bytes of which connection a thread has read, and gives what the thread does from then on a number, the
// token (record.KindServe); and which bytes a thread that has a token writes to another connection (record.KindSend). The numbers
// of bytes are the same at both ends, so that reader and writer are joined without looking at a clock: [Table.Request] follows a token from
// reader to writer until it comes to a request of the edge.
//
// The two ends of a connection may call it by other addresses: a translation stands between them, or they are in network namespaces of their own.
// The sensor knows both ends by the connection's sequence numbers, and says of what was read how its writer calls the connection. Where the writer is not known (a Go program writes from another goroutine than the one that serves; a proxy in user space), the
// identifiers that the edge has put into the request are looked for in its first bytes.
//
// docs/chain.md says what is promised; docs/decisions/0025-causal-chain.md says why.
package chain
