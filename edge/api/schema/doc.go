// Package schema checks JSON values against JSON Schema, draft 2020-12, as a guard in front of a server must:
// in a few microseconds, with a bound on what hostile input can cost, and without a value in what it says.
//
// The library santhosh-tekuri/jsonschema reads the schemas: it knows the drafts, resolves references and refuses
// what is no schema. What it compiled is turned into a form of our own, and that is evaluated: the library's own
// evaluation takes ten times as long, allocates for each value, has no bound on its work, and knows no direction. In the tests it is the
// judge: both agree on the official test suite and on random schemas and values. Schemas that need dynamic references are
// evaluated by the library.
//
// Beyond the standard: a property that is readOnly must not be sent in a request and is not required there, and one
// that is writeOnly likewise in a response (OpenAPI 3.0.3, section 4.7.24); a discriminator chooses the one branch
// of oneOf or anyOf that a value is held to; formats are asserted.
//
// A Set is safe for concurrent use.
package schema
