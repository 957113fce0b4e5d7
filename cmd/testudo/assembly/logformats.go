package assembly

import (
	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/logs/access"
	"github.com/testudo-sec/testudo/logs/auditd"
	"github.com/testudo-sec/testudo/logs/cloudtrail"
	"github.com/testudo-sec/testudo/logs/evtx"
	"github.com/testudo-sec/testudo/logs/jsonlines"
	"github.com/testudo-sec/testudo/logs/k8saudit"
	"github.com/testudo-sec/testudo/logs/otlp"
	"github.com/testudo-sec/testudo/logs/syslog"
)

// LogFormats lists the formats of logs, in the order in which they are asked whose a stream is: those that
// look for more first.
func LogFormats() []logs.Format {
	return []logs.Format{cloudtrail.Format, k8saudit.Format, evtx.Format, otlp.Format, auditd.Format, access.Format, access.JSON, syslog.Format,
		syslog.Journal, jsonlines.Format}
}
