package signal

import "time"

// Asset is something that exists and can be at risk: a host, a workload, an
// application, a repository, an address.
type Asset struct {
	ID    string            `json:"id"`   // "kind:key", unique, as in "application:shop"
	Kind  string            `json:"kind"` // application, host, address, repository, ...
	Name  string            `json:"name"`
	Attrs map[string]string `json:"attrs,omitempty"`
	First time.Time         `json:"first_seen"`
	Last  time.Time         `json:"last_seen"`
}

// AssetID returns the id of an asset of that kind and key.
func AssetID(kind, key string) string { return kind + ":" + key }

// Relation says that one asset has to do with another: runs, contains, calls, serves.
type Relation struct {
	From  string    `json:"from"` // asset id
	To    string    `json:"to"`   // asset id
	Kind  string    `json:"kind"`
	Event ID        `json:"event,omitzero"` // the event that showed it
	First time.Time `json:"first_seen"`
	Last  time.Time `json:"last_seen"`
}
