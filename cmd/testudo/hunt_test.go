package main

import (
	"testing"

	"github.com/testudo-sec/testudo/signal"
)

func TestWhatHappened(t *testing.T) {
	text := func(f signal.Field, v string) func(*signal.Event) { return func(e *signal.Event) { e.SetString(f, v) } }
	for _, tt := range []struct {
		want string
		set  []func(*signal.Event)
	}{
		{"", nil},
		{"GET /a -> 404", []func(*signal.Event){text(signal.FieldHTTPRequestHTTPMethod, "GET"), text(signal.FieldHTTPRequestURLPath, "/a"),
			func(e *signal.Event) { e.SetInt(signal.FieldHTTPResponseCode, 404) }}},
		{"A finding", []func(*signal.Event){text(signal.FieldFindingInfoTitle, "A finding"), text(signal.FieldMessage, "m")}},
		{"CreateUser", []func(*signal.Event){text(signal.FieldAPIOperation, "CreateUser"), text(signal.FieldMessage, "m")}},
		{"sh -c *", []func(*signal.Event){func(e *signal.Event) { e.SetMasked(signal.FieldProcessCmdLine, "sh -c secret", "sh -c *") }}},
		{"4625", []func(*signal.Event){text(signal.FieldMetadataEventCode, "4625")}},
	} {
		var e signal.Event
		for _, set := range tt.set {
			set(&e)
		}
		if got := whatHappened(&e); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
