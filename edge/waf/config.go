package waf

import (
	"errors"
	"fmt"
	"path"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Engines that execute the rules. Their verdicts are the same.
const (
	EngineFast   = "fast"
	EngineCoraza = "coraza"
)

// Config says how requests and responses are inspected.
type Config struct {
	// Engine executes the rules: fast, or coraza, to compare with. What fast does not cover is left to coraza, which testudo
	// doctor tells.
	Engine string `yaml:"engine"`
	// RequestBody is how much of a request's body is inspected. What lies beyond passes
	// uninspected, and the event's waf.categories then holds truncated-body.
	RequestBody bytesize.Size `yaml:"request_body"`
	// ResponseBody is how much of a response's body is inspected. 0 inspects none.
	ResponseBody bytesize.Size `yaml:"response_body"`
	// ResponseTypes are the media types of responses whose bodies are inspected.
	ResponseTypes []string `yaml:"response_types"`
	// StreamTypes are media types of request bodies, as patterns such as video/*, that
	// pass uninspected and unbuffered. A service that ignores the media type can be attacked
	// through such a body.
	StreamTypes []string `yaml:"stream_types"`
	// Before are SecLang directives that are read before the Core Rule Set: its settings, and
	// exclusions that depend on the request.
	Before string `yaml:"before"`
	// After are SecLang directives that are read after the Core Rule Set: rules of your
	// own, and exclusions such as SecRuleRemoveById 942100.
	After string `yaml:"after"`
}

// DefaultConfig returns the settings without a configuration file.
func DefaultConfig() Config {
	return Config{
		Engine:        EngineFast,
		RequestBody:   128 * bytesize.KiB,
		ResponseBody:  64 * bytesize.KiB,
		ResponseTypes: []string{"text/html", "text/plain", "text/xml", "application/json", "application/xml"},
		StreamTypes:   []string{"application/grpc", "application/grpc+*"},
	}
}

// maxInspected bounds how much of a body may be inspected: it is held in memory.
const maxInspected = 16 * bytesize.MiB

// Validate says what in the settings makes no sense.
func (c *Config) Validate() error {
	var errs []error
	if c.Engine != "" && c.Engine != EngineFast && c.Engine != EngineCoraza {
		errs = append(errs, fmt.Errorf("engine is %q: want %s or %s", c.Engine, EngineFast, EngineCoraza))
	}
	for name, size := range map[string]bytesize.Size{"request_body": c.RequestBody, "response_body": c.ResponseBody} {
		if size < 0 || size > maxInspected {
			errs = append(errs, fmt.Errorf("%s is %v: want 0 to %v", name, size, maxInspected))
		}
	}
	for _, pattern := range c.StreamTypes {
		if _, err := path.Match(pattern, ""); err != nil {
			errs = append(errs, fmt.Errorf("stream_types: %q is not a pattern such as video/*", pattern))
		}
	}
	return errors.Join(errs...)
}
