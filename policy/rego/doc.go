// Package rego runs Rego policies that users have: conftest's (deny, warn and violation rules of any package) and Gatekeeper's
// (ConstraintTemplates with their constraints), in the syntax of Rego v0 and v1. docs/rego.md is its reference.
//
// Policies decide by their input alone. Built-ins that reach for the network, the clock, the environment or chance are
// refused when a policy is loaded, with their place. What an evaluation may cost is counted in steps, not in time, so
// that the same policy gives the same answer on every machine: every expression that is evaluated is a step, and so is every
// so many bytes that a built-in makes.
//
// There are two uses. [Load] returns [Policies], which judge documents: manifests, plans, configuration. [Dialect] makes
// rules of the same policies, which judge the documents that events carry: what is sent to a Kubernetes API server.
//
// OPA's evaluator is used below its own package rego: its parts for servers, bundles and WebAssembly are not linked.
package rego
