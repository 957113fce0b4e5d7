package owner

import (
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Access is one request with its answer. The Tracker keeps none of its strings and trees.
type Access struct {
	Time     time.Time
	Route    string
	Method   string
	Template string // of the path: "/orders/{id}"

	Subject     uint64   // whose credentials: a keyed hash; 0 if none were valid
	Also        []uint64 // of further credentials in the request: which of them counts is not known here
	Unproved    bool     // nobody knows yet whether the credentials are good: who was not seen before is counted by Client
	Client      uint64   // from where: a keyed hash of the address, which stands for a subject where there is none
	Credentials bool     // the request carried some

	Objects  []Object // what the path and the query name
	Request  any      // parsed JSON, or nil
	Response any
	Location string // the header of the answer
	Status   int
	Bytes    int64 // of the answer's body

	Document Fields // what a document says of the bodies; nil if there is none
}

// Object is a parameter that names something: {id} in a path, or order_id in a query.
type Object struct{ Name, Value string }

// Fields is what a document knows. Pointers are JSON pointers in which * stands for the elements of an array.
type Fields interface {
	RequestField(pointer string) bool
	ResponseField(pointer string) bool
}

// Violation is something that should not be. It holds no values of a request.
type Violation struct {
	Check      string // object, authentication, assignment, exposure, bypass
	Code       string
	Where      string // JSON pointer, name of a parameter or of a header
	Message    string
	Confidence int // of a hundred: how rarely it is anything else
}

// The checks of Violation.Check, and below each its codes.
const (
	CheckObject         = "object"
	CheckAuthentication = "authentication"
	CheckAssignment     = "assignment"
	CheckExposure       = "exposure"
	CheckBypass         = "bypass"

	CodeForeign  = "foreign-objects"  // opened objects that were never given to the subject
	CodeWalk     = "object-walk"      // opened far more objects than others do
	CodeSequence = "object-sequence"  // one id after the other
	CodeRefused  = "objects-refused"  // asked for many that are not there or not allowed
	CodeBare     = "no-credentials"   // answered although all others needed credentials
	CodePrivate  = "privileged-field" // a field that grants something
	CodeUnknown  = "unknown-field"    // a field that no answer, no document and nobody else has
	CodeRecords  = "many-records"
	CodeBytes    = "many-bytes"
	CodeExtra    = "undocumented-field"
	CodeMethod   = "method-override"
	CodeAddress  = "address-override"
	CodePath     = "path-trick"
)

// Config bounds a Tracker and says when it speaks. Zero values mean the defaults.
type Config struct {
	// Subjects is how many subjects are remembered at once.
	Subjects int `yaml:"subjects"`
	// Endpoints is how many endpoints are watched.
	Endpoints int `yaml:"endpoints"`
	// Memory is what ids given and owners of objects are remembered in.
	Memory bytesize.Size `yaml:"memory"`
	// Remember is how long an id counts as given to a subject.
	Remember time.Duration `yaml:"remember"`
	// Window is what one subject's accesses are counted over.
	Window time.Duration `yaml:"window"`
	// Warm is how long nothing is said of foreign objects after a start.
	Warm time.Duration `yaml:"warm"`
	// Foreign is how many points of foreign objects in one window are remarkable at least: an object that belongs to another
	// subject has two, one of which nobody knows has one.
	Foreign int `yaml:"foreign"`
	// Walk is how many objects never given, opened in one window, are remarkable at least.
	Walk int `yaml:"walk"`
	// Refused is how many refused objects in one window are remarkable at least.
	Refused int `yaml:"refused"`
	// Sequence is how many ids in a row are remarkable.
	Sequence int `yaml:"sequence"`
}

// Default is the Config for a busy API with some ten thousand users.
func Default() Config {
	return Config{Subjects: 50_000, Endpoints: 10_000, Memory: 48 << 20, Remember: 24 * time.Hour, Window: time.Hour, Warm: 6 * time.Hour,
		Foreign: 12, Walk: 60, Refused: 15, Sequence: 20}
}

// Validate says which value is out of range.
func (c Config) Validate() error {
	for _, l := range []struct {
		name        string
		value, most int64
	}{{"subjects", int64(c.Subjects), 10_000_000}, {"endpoints", int64(c.Endpoints), 1_000_000}, {"memory", int64(c.Memory), 8 << 30},
		{"foreign", int64(c.Foreign), 1_000_000}, {"walk", int64(c.Walk), 1_000_000}, {"refused", int64(c.Refused), 1_000_000},
		{"sequence", int64(c.Sequence), 1_000_000}} {
		if l.value < 0 || l.value > l.most {
			return fmt.Errorf("owner.%s: %d is not between 0 and %d", l.name, l.value, l.most)
		}
	}
	for _, d := range []struct {
		name        string
		value, most time.Duration
	}{{"remember", c.Remember, 30 * 24 * time.Hour}, {"window", c.Window, 24 * time.Hour}, {"warm", c.Warm, 30 * 24 * time.Hour}} {
		if d.value < 0 || d.value > d.most {
			return fmt.Errorf("owner.%s: %v is not between 0 and %v", d.name, d.value, d.most)
		}
	}
	return nil
}

func (c Config) orDefault() Config {
	d := Default()
	for _, p := range []struct{ v, d *int }{{&c.Subjects, &d.Subjects}, {&c.Endpoints, &d.Endpoints}, {&c.Foreign, &d.Foreign}, {&c.Walk, &d.Walk},
		{&c.Refused, &d.Refused}, {&c.Sequence, &d.Sequence}} {
		if *p.v == 0 {
			*p.v = *p.d
		}
	}
	for _, p := range []struct{ v, d *time.Duration }{{&c.Remember, &d.Remember}, {&c.Window, &d.Window}, {&c.Warm, &d.Warm}} {
		if *p.v == 0 {
			*p.v = *p.d
		}
	}
	if c.Memory == 0 {
		c.Memory = d.Memory
	}
	return c
}

// Stats counts what a Tracker did. All numbers but the first two grow since New.
type Stats struct {
	Subjects  int    // now
	Endpoints int    // now
	Accesses  uint64 // that were looked at
	Evicted   uint64 // subjects forgotten before their window was over
	Full      uint64 // accesses to endpoints that are not watched because there are too many
	Shortened uint64 // times that ids were forgotten early, because too many were given
	Cut       uint64 // answers with more ids than are read
}
