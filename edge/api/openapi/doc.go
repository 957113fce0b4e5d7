// Package openapi holds requests and responses to an OpenAPI document, 3.0, 3.1 or 3.2.
//
// Load reads a document once, with the files beside it that it refers to, and compiles what is needed for each
// request. Find names the operation that a request is for; what a document does not know, or what two servers could read
// differently (an encoded slash, a dot segment, an escape within an escape), is a Violation. CheckRequest and CheckResponse
// say in what ways a message breaks the operation's description: parameters in all styles, bodies of JSON, forms, multipart and
// text, content types, credentials that are missing altogether. They never decide; the caller does.
//
// What is promised:
//
//   - A Violation holds names of the document and of fields, never a value that was sent.
//   - What could not be checked is the Violation "not-checked": a body that was cut, is nested too deeply, compressed,
//     of a content type without a reader here (XML), or asks for too much work. Silence means checked.
//   - Work and memory are bounded for each message: JSON to a depth of 64 and 100,000 values, 1,000 parameters, 200
//     parts, sixteen violations of a schema.
//   - A Document never changes and is safe for concurrent use. Nothing is fetched from the network.
//
// Where the specification leaves a choice, or practice differs from it:
//
//   - A concrete path goes before a template, segment by segment. Where it does not know the method, a template that does
//     is taken, as routers do.
//   - HEAD is GET where it is not described, and OPTIONS of a known path is always allowed: it asks about the path.
//   - nullable of 3.0 allows null also beside enum, $ref and allOf, as those who write it there mean it.
//   - An array in one parameter is split after decoding, as most servers do it.
//   - One parameter given twice is a violation unless it is an array: servers differ in which one they take.
//
// The specification is at https://spec.openapis.org/oas/.
package openapi
