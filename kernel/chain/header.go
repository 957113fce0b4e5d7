package chain

import "bytes"

// byHeader looks for an identifier that the edge gave a request which is under way. Identifiers of others mean nothing; one that two requests
// have at the same time, neither.
func (t *Table) byHeader(k *token, head []byte) {
	var found *request
	look := func(by *recent[string, *request], id []byte) {
		if r, ok := by.get(string(id)); ok && r != nil && !t.over(r) {
			switch {
			case found == nil:
				found = r
			case found != r:
				k.Ambiguous = true
			}
		}
	}
	identifiers(head, func(name string, value []byte) {
		if name == "x-request-id" {
			look(&t.requests, value)
			return
		}
		// version-trace-span-flags, https://www.w3.org/TR/trace-context/
		if len(value) < 55 || value[2] != '-' || value[35] != '-' || value[52] != '-' {
			return
		}
		look(&t.spans, append(append(make([]byte, 0, 48), value[3:35]...), value[36:52]...))
		look(&t.traces, value[3:35])
	})
	if found != nil && !k.Ambiguous {
		t.settle(k, found, nil, ByHeader, false)
	}
}

// maxFields bounds the lines that are looked at.
const maxFields = 64

// identifiers calls yield with the values of the fields that may hold an identifier of the edge, in a piece of an HTTP/1 message.
func identifiers(head []byte, yield func(name string, value []byte)) {
	for range maxFields {
		at := bytes.IndexByte(head, '\n')
		if at < 0 {
			return // the last line may be cut
		}
		line := bytes.TrimSuffix(head[:at], []byte("\r"))
		head = head[at+1:]
		if len(line) == 0 {
			return // the body, which anybody may have written
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		for _, want := range [...]string{"x-request-id", "traceparent"} {
			if len(name) == len(want) && bytes.EqualFold(name, []byte(want)) {
				yield(want, bytes.TrimSpace(value))
			}
		}
	}
}
