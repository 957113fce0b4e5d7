// Package signal is the vocabulary of testudo: what planes see (Event), what
// exists (Asset, Relation), what is wrong (Finding), what policy thinks
// (Verdict), what was done about it (Action), and where events go (Sink).
//
// It imports the standard library only and knows no producer and no consumer.
//
// An Event holds typed fields under compiled ids: [Lookup] resolves a name such
// as "http_request.url.path" once, when a rule is compiled, and the accessors
// then read the field without a map look-up and without an allocation. Names are
// OCSF attribute paths (https://schema.ocsf.io, version in [OCSFVersion]) where
// OCSF has one. Two encodings exist: OCSF JSON ([Event.AppendJSON],
// [Event.UnmarshalJSON]) for people and other programs, and a compact binary frame
// ([Event.AppendFrame], [Frames]) for batches on the bus.
//
// Some fields carry what must not be recorded: passwords in parameters, cookies. Such
// a field has two forms, set together by [Event.SetMasked]: the raw one, which rules
// see while the event is judged, and the recorded one, which is the only one
// that any encoding or [Event.Recorded] hands out.
package signal

//go:generate go run ../internal/genfields
