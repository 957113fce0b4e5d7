// Package personal recognises data that should not leave: payment cards, bank accounts, the national numbers of people, private
// keys, tokens, stack traces, and addresses of people in bulk. It finds them in bytes ([Detector.Find]) and masks them ([Detector.Mask]),
// also in a stream whose pieces end anywhere ([Detector.Stream]).
//
// What a kind is known by is public and computed here: a form, a check digit, a date, a registry's ranges, the
// name that stands before it. Nothing reads the network or the clock. A [Match] has positions only, never the value.
//
// To mask what a response says, and be told of it:
//
//	d, err := personal.New(personal.Default())
//	...
//	s := d.Stream(func(m personal.Match) bool {
//		seen[m.Kind.ID]++               // for the event: kinds and counts
//		return m.Kind.Group != "trace"  // mask it, or only tell
//	})
//	for piece := range pieces {
//		w.Write(s.Write(piece)) // flush when the origin does: only what may be the beginning of a match is held back
//	}
//	w.Write(s.Close())
//
// # Promises
//
// However a text is cut into pieces, the stream's output and what it tells are those of the whole text. A mask is as long as what it covers,
// so Content-Length stays right, and JSON, HTML and forms stay what they are: escapes stay escapes, a bare JSON number
// stays a number. A stream holds back the last word or number of a piece where it may be the beginning of a match, and the beginning of a token up to
// its first quote or space: mostly nothing, at the end of a line nothing, never more than 5 KB. The work for a text is linear in its
// length, and a text without matches costs no allocation.
//
// # Encodings
//
// Text is bytes in UTF-8 or another superset of ASCII. Digits, letters and the spaces between them are also
// read where they are written as JSON escapes (\u0034), as HTML character references (&#52;, &nbsp;) or percent-encoded (%34), each
// once: not one within another. What is not read: UTF-16 and UTF-32 (bring them to UTF-8 before), base64 and compressed
// data (decode them before), digits of other scripts, words and numbers that markup cuts in two. Who means to smuggle can write a number in words;
// this finds what programs send by mistake.
package personal
