// Package api guards APIs at the edge: it holds each exchange of a route to documents (OpenAPI, GraphQL, gRPC), to tokens, to who may reach what, and to what may
// leave; and it learns from traffic which endpoints there are.
//
// A Guard is the [edge.Guard] of all routes. Its parts are packages of their own that know nothing of each other: openapi, graphql, grpc, token,
// owner and inventory below this one, and detect/personal. The Guard gives each what it needs, once: a body is decoded once and its JSON read once.
//
// The parts say what they found; a route's configuration says of each whether that is left out (off), told (report), or told and blocked by (block). What is
// told becomes fields of the event, api.violations and those beside it, and the rules of policy decide. Nothing that is told holds a value of a message.
//
// What is not looked at: bodies beyond Route.Bodies, which is the violation not-checked where a document describes the body; what a tunnel carries; bodies of content types that are neither
// JSON nor text, but for forms, multipart and gRPC.
package api
