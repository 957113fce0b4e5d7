// Package logs is the plane of what others recorded: cloud trails, Kubernetes audit logs, auditd, Windows events,
// syslog, access logs, OpenTelemetry. It turns records into events of the one model, so that rules written for those
// logs, Sigma's above all, judge them as they judge what testudo sees itself.
//
// This package is the host. A format (a folder below: cloudtrail, evtx, auditd, ...) is a [Format] value: how a
// stream is cut into records, how the format is recognised, and a [Parser]. The command passes an explicit list of
// formats; there is no registry. A stream is read in three steps:
//
//	f, ok := logs.Detect(formats, sample)          // or the format that the user named
//	r := logs.NewReader(stream, f, logs.Options{})  // records, bounded, never stopped by a bad one
//	p := f.New(source)                             // one parser for each stream
//	for {
//		record, err := r.Next()
//		...
//		e.Reset()
//		err = p.Parse(record, &e)              // *ParseError: count it, sample it, go on
//	}
//
// # What an event of a log holds
//
// Every parser sets metadata.log_product, log_name and log_category, in the words of Sigma's log sources (product,
// service, category), metadata.event_code where the record has one, the plane, the time, and the OCSF class where one
// fits; else the class is 0, OCSF's Base Event. Attributes of the record go where package internal/logfields says; a
// value is in the field that the table names, or, where there is none or the value does not fit the field's type, an
// unmapped attribute under the record's own flattened name. Nothing is dropped silently: see [Truncated].
//
// # Time
//
// A record without a time, or with one that nobody can read, leaves Event.Time 0. The plane then sets the time of
// receipt; the unreadable text stays under its own name.
//
// # Secrets
//
// Values of attributes whose name says that they are secrets (password, secretAccessKey, sessionToken, authorization,
// ...) become "*" before anything sees them; see [IsSecretName]. Query strings and referrers have two forms
// (signal.Event.SetMasked). Free text (command lines, script blocks, messages) is kept as it was written: rules need it,
// and whoever writes a password into a command line has already written it into that log.
package logs
