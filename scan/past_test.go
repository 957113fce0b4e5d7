package scan_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// lineless finds the same thing in every file of a path, whatever its text.
type lineless struct{ conf scan.Confidence }

func (lineless) Name() string { return "lineless" }
func (l lineless) Scan(_ context.Context, f *scan.File, report scan.Report) error {
	report(signal.Finding{ID: signal.Fingerprint(f.Path), Rule: "lineless", Title: "T", Severity: signal.SeverityHigh, Fix: "F", Location: signal.Location{Line: 1}}, l.conf)
	return nil
}

// TestPast holds that a finding of a history comes once, from its oldest file, in the order of the history, and
// says whether the newest state has it.
func TestPast(t *testing.T) {
	give := func(ctx context.Context, v scan.Visitor) {
		for _, f := range []scan.File{
			{Path: "b", Commit: "c3", Order: 3, Current: true, Data: []byte("x")},
			{Path: "b", Commit: "c2", Order: 2, Data: []byte("x"), Evidence: []signal.Evidence{{Name: "author", Value: "Bo"}}},
			{Path: "a", Commit: "c1", Order: 1, Data: []byte("x")},
			{Path: "fine", Commit: "c1", Order: 1, Data: []byte("x")},
			{Path: "fine", Commit: "c4", Order: 4, Data: []byte("x # testudo:allow lineless because")},
			{Path: "known", Commit: "c1", Order: 1, Data: []byte("x")},
			{Path: "known", Commit: "c2", Order: 2, Data: []byte("x")},
		} {
			v.File(ctx, &f)
		}
	}
	config := scan.DefaultConfig()
	var got []string
	o := scan.Options{Source: sourceOf(give), Scanners: []scan.Scanner{lineless{scan.High}}, Config: config, Baseline: scan.Baseline{signal.Fingerprint("known"): true}}
	stats, err := scan.Run(t.Context(), o, func(f signal.Finding) {
		got = append(got, fmt.Sprint(f.Location.Path, " ", f.Location.Commit, " ", f.Evidence))
	})
	want := "[a c1 [{in HEAD no} {confidence high}] b c2 [{author Bo} {in HEAD yes} {confidence high}]]"
	if err != nil || fmt.Sprint(got) != want || stats.Findings != 2 || stats.Allowed != 1 || stats.Known != 1 {
		t.Errorf("%v\ngot  %v\nwant %s\n%+v", err, got, want, stats)
	}
	o.Scanners = []scan.Scanner{lineless{scan.Low}}
	if stats, err := scan.Run(t.Context(), o, nil); err != nil || stats.Quiet != 4 {
		t.Errorf("%v, %+v: want each quiet finding counted once", err, stats)
	}
	config.MaxFindings = 1
	o.Config, o.Scanners, o.Baseline = config, []scan.Scanner{lineless{scan.High}}, nil
	if stats, err := scan.Run(t.Context(), o, func(signal.Finding) {}); err != nil || stats.Findings != 1 || stats.Dropped == 0 {
		t.Errorf("%v, %+v", err, stats)
	}
}
