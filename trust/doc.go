// Package trust is the room of proof: who somebody is, and what was done.
//
// It holds no code of its own. Choose a part:
//
//   - trust/ledger keeps every action and every change made in the console in
//     a Merkle log with signed heads, so that a later edit shows.
//   - trust/people knows the humans who use the console and the tokens that
//     machines use: sign-in, sessions, roles, attempt limits.
//   - trust/sealed keeps requests as they were received, encrypted under keys that are destroyed
//     with them, for the short time that a route asks for.
//
// The parts do not know each other. people reports its changes through an
// interface that the node binds to the ledger.
package trust
