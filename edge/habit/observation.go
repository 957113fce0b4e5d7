package habit

import (
	"fmt"
	"time"
)

// Observation is one request. Nothing of it is kept but the names of parameters, and the endpoint's.
type Observation struct {
	Time     time.Time
	Route    string
	Method   string
	Template string // "/users/{id}"; with "" nothing is learned and nothing is unusual

	Path, Query, Form []Value
	Body              any // parsed JSON, or nil: nil, bool, json.Number or float64, string, []any, map[string]any

	Cut bool // there is more of the request than stands here: nothing is said to be missing

	Client uint64 // whom a stranger cannot be several of: a keyed hash of the network that it came from, or of a subject that was proved; 0: nobody, not learned
}

// Value is one value of a parameter, decoded.
type Value struct{ Name, Value string }

// Place is the part of a request that a parameter stands in.
type Place uint8

// The places, in the order that parameters are listed in.
const (
	InPath Place = iota
	InQuery
	InForm
	InBody
)

// String returns the place as it stands before a parameter's name.
func (p Place) String() string {
	switch p {
	case InPath:
		return "path"
	case InQuery:
		return "query"
	case InForm:
		return "form"
	}
	return "body"
}

// Config bounds Habits. Zero values mean the defaults.
type Config struct {
	// Parameters is how many parameters are kept at most, of all endpoints together. One takes up to 4 KB.
	Parameters int `yaml:"parameters"`
	// Each is how many parameters of one endpoint are kept at most.
	Each int `yaml:"each"`
	// Requests is how many requests of an endpoint are seen before something is unusual.
	Requests int `yaml:"requests"`
}

// Default is the Config for a node that guards some hundreds of endpoints.
func Default() Config { return Config{Parameters: 8192, Each: 64, Requests: 50} }

// Validate says which limit is out of range.
func (c Config) Validate() error {
	for _, l := range []struct {
		name       string
		value, top int
	}{{"parameters", c.Parameters, 1 << 20}, {"each", c.Each, 1024}, {"requests", c.Requests, 1 << 20}} {
		if l.value < 0 || l.value > l.top {
			return fmt.Errorf("habits.%s: %d is not between 0 and %d", l.name, l.value, l.top)
		}
	}
	return nil
}

func (c Config) orDefault() Config {
	d := Default()
	if c.Parameters <= 0 {
		c.Parameters = d.Parameters
	}
	if c.Each <= 0 {
		c.Each = d.Each
	}
	if c.Requests <= 0 {
		c.Requests = d.Requests
	}
	return c
}

// Stats counts what was learned and what was not. All numbers but Parameters and Crammed grow since New.
type Stats struct {
	Parameters int    // now
	Crammed    int    // endpoints with more parameters than are kept, as of the last Refresh
	Learned    uint64 // requests
	Full       uint64 // parameters of requests that were not kept because a table is full
	Crowded    uint64 // likewise, because clients of one slot alone have named too many others
	Evicted    uint64 // parameters that were dropped: few clients gave them, or nobody any more
}
