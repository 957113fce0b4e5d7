package intel

import (
	"cmp"
	"slices"
	"time"
)

// Info says what a database holds.
type Info struct {
	Path  string    `json:"path"`
	Size  int64     `json:"size"` // bytes on disk
	Built time.Time `json:"built"`
	// Digest is over the whole content: two databases with the same one are the same. "sha256:…"
	Digest string `json:"digest"`
	// Advisories are those of all ecosystems; one that concerns two of them counts twice.
	Advisories int64    `json:"advisories"`
	Sources    []Source `json:"sources"` // by kind and name
}

// Source returns the source of that name.
func (i *Info) Source(kind Kind, name string) (Source, bool) {
	for _, s := range i.Sources {
		if s.Kind == kind && s.Name == name {
			return s, true
		}
	}
	return Source{}, false
}

// Kind is what a source tells.
type Kind string

// The kinds.
const (
	KindOSV         Kind = "osv"         // advisories of one ecosystem
	KindExploited   Kind = "exploited"   // the list of known exploited vulnerabilities
	KindProbability Kind = "probability" // EPSS
)

// Source is one source's state, as it was taken in.
type Source struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"` // the ecosystem; "kev", "epss"
	From string `json:"from"` // URL or folder
	// Checked is when the source was last asked, Fetched when it last had something new.
	Checked time.Time `json:"checked,omitzero"`
	Fetched time.Time `json:"fetched,omitzero"`
	// Newest is the last modification among its advisories, or the date of the list.
	Newest time.Time `json:"newest,omitzero"`
	// Cursor is the last modification that the source's own list of changes named.
	Cursor time.Time `json:"cursor,omitzero"`
	// ETag, LastModified and ContentDigest are what the last full download came with.
	ETag          string `json:"etag,omitempty"`
	LastModified  string `json:"last_modified,omitempty"`
	ContentDigest string `json:"content_digest,omitempty"`
	// Broken counts advisories that could not be understood.
	Broken int64 `json:"broken,omitempty"`

	// What follows is counted by the writer.
	Advisories int64  `json:"advisories"` // or entries of a list
	Withdrawn  int64  `json:"withdrawn,omitempty"`
	Malicious  int64  `json:"malicious,omitempty"`
	Packages   int64  `json:"packages,omitempty"` // names
	Size       int64  `json:"size"`               // bytes on disk
	Digest     string `json:"digest"`             // of these bytes: "sha256:…"
}

func sortSources(list []Source) {
	slices.SortFunc(list, func(a, b Source) int {
		return cmp.Or(cmp.Compare(len(a.Kind), len(b.Kind)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}
