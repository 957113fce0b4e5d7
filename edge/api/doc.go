// Package api guards APIs at the edge: it holds each exchange of a route to documents (OpenAPI, GraphQL, gRPC), to tokens, to who may reach what, and to what may
// leave; and it learns from traffic which endpoints there are.
//
// A Guard is the [edge.Guard] of all routes. Its parts are packages of their own that know nothing of each other: openapi, graphql, grpc, token,
// owner and inventory below this one, and detect/personal. The Guard gives each what it needs, once: a body is decoded once and its JSON read once.
//
// The parts say what they found; a route's configuration says of each whether that is left out (off), told (report), or told and blocked by (block). What is
// told becomes fields of the event, api.violations and those beside it, and the rules of policy decide. Nothing that is told holds a value of a message.
//
// Strangers are thought of: a request that a laxer server would take for a described operation is held to that (letters' case, slashes, encodings); who shows several
// credentials is known by each; made-up credentials, methods and names fill no table; what many small findings stand before is refused all the same; bodies wait as they
// came, not parsed; compressed ones are read where that takes little memory. A path that only laxer servers know frees nobody from a token, and a token that is no good at an
// operation for everybody is told of only, for people sign in there.
//
// What is not looked at: messages of gRPC calls in which both sides speak in turn; bodies beyond Route.Bodies, which is the violation not-checked where a document describes the body; what a tunnel carries; bodies of content types that are neither
// JSON nor text, but for forms, multipart and gRPC.
package api
