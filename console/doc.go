// Package console shows what testudo sees and does, and takes people's orders:
// an HTTPS server with sign-in, a JSON API under /api/v1 with its OpenAPI
// document, live streams, and the seam that the pages of console/ui hang on.
// The same API answers on a Unix socket for the commands of this machine.
//
// It imports no engine. Sources lists the small interfaces of what it reads and
// orders; the node fits them. Whatever a source hands out is shown to people, so
// it holds recorded forms only, never a secret.
//
// What is promised:
//
//   - One table of routes (Route) drives routing, roles, cross-site checks and the
//     OpenAPI document. A request that the table does not allow reaches no handler.
//   - A GET changes nothing. Every change is in the ledger with who asked for it,
//     before it is done.
//   - Every body, stream, buffer and connection is bounded; what is dropped is counted.
package console
