package detect

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"strings"
)

// compactFile holds the rules that ship once more, as JSON, which is read in a tenth of the time that YAML takes: a scan
// of one file would spend most of its time on rules. A rule of it counts only as long as its file has that checksum.
const compactFile = "secrets.json"

// A compact is a rule as [Parse] reads it, and of which text.
type compact struct {
	Sum  uint32 `json:"sum"` // CRC-32 of the rule's file
	Rule *Rule  `json:"rule"`
}

// writeCompact returns the compact form of the rule files below dir.
func writeCompact(tree fs.FS, dir string) ([]byte, error) {
	out := map[string]any{}
	err := eachRule(tree, dir, func(name string, data []byte) error {
		r, err := Parse(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		text, err := json.Marshal(compact{crc32.ChecksumIEEE(data), r})
		if err != nil {
			return err
		}
		var tree any
		if err := json.Unmarshal(text, &tree); err != nil {
			return err
		}
		out[path.Base(name)] = said(tree)
		return nil
	})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(out)
	// A line for each rule, so that changes to two of them do not meet.
	return append([]byte(strings.ReplaceAll(string(text), `,"sum":`, ",\n\"sum\":")), '\n'), err
}

// said leaves out what has its zero value.
func said(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			switch value = said(value); value {
			case nil, "", false, 0.0:
				delete(v, name)
			default:
				v[name] = value
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			v[i] = said(v[i])
		}
	}
	return v
}

// readCompact reads the compact form; without it, all rules are read from their files.
func readCompact(tree fs.FS) map[string]compact {
	data, err := fs.ReadFile(tree, compactFile)
	if err != nil {
		return nil
	}
	var all map[string]compact
	if json.Unmarshal(data, &all) != nil {
		return nil
	}
	return all
}

// MarshalText writes the lower-case name.
func (c Confidence) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
