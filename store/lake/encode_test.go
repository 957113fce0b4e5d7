package lake

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

func httpEvent(e *signal.Event, i int) {
	e.Reset()
	now := time.Unix(1793000000, int64(i)*10_123)
	e.ID, e.Time, e.Class, e.Activity = signal.NewID(now), now.UnixNano(), signal.ClassHTTPActivity, 3
	e.Severity, e.Plane, e.Seq = signal.SeverityInfo, signal.PlaneEdge, uint64(i+1)
	e.SetString(signal.FieldHTTPRequestUID, signal.NewID(now).String())
	e.SetString(signal.FieldTraceUID, fmt.Sprintf("%016x%016x", uint64(i)*0x9e3779b97f4a7c15, uint64(i)*0xbf58476d1ce4e5b9))
	e.SetString(signal.FieldTraceSpanUID, fmt.Sprintf("%016x", uint64(i)*0x94d049bb133111eb))
	e.SetIP(signal.FieldSrcEndpointIP, netip.AddrFrom4([4]byte{10, byte(i >> 8 & 3), byte(i >> 4), byte(i)}))
	e.SetInt(signal.FieldSrcEndpointPort, int64(30000+i%20000))
	e.SetIP(signal.FieldDstEndpointIP, netip.MustParseAddr("192.0.2.10"))
	e.SetInt(signal.FieldDstEndpointPort, 443)
	e.SetString(signal.FieldDstEndpointHostname, "shop.example")
	e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
	e.SetString(signal.FieldHTTPRequestVersion, "2")
	e.SetString(signal.FieldHTTPRequestURLScheme, "https")
	e.SetString(signal.FieldHTTPRequestURLHostname, "shop.example")
	e.SetInt(signal.FieldHTTPRequestURLPort, 443)
	e.SetString(signal.FieldHTTPRequestURLPath, []string{"/", "/search", "/product/1", "/cart", "/login", "/static/app.js"}[i%6])
	e.SetMasked(signal.FieldHTTPRequestURLQueryString, "q=tent&page=1", "q=***&page=***")
	e.SetString(signal.FieldHTTPRequestUserAgent, []string{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36", "curl/8.10.1", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"}[i%3])
	e.SetString(signal.FieldHTTPRequestReferrer, "https://shop.example/")
	e.SetInt(signal.FieldHTTPRequestLength, 0)
	e.SetStrings(signal.FieldHTTPRequestHeaderNames, []string{"accept", "accept-encoding", "accept-language", "cookie", "user-agent"})
	e.SetStrings(signal.FieldHTTPRequestCookieNames, []string{"session"})
	e.SetStrings(signal.FieldHTTPRequestArgsNames, []string{"q", "page"})
	e.SetString(signal.FieldTLSVersion, "1.3")
	e.SetString(signal.FieldTLSSNI, "shop.example")
	e.SetString(signal.FieldTLSCipher, "TLS_AES_128_GCM_SHA256")
	e.SetString(signal.FieldTLSALPN, "h2")
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetString(signal.FieldEdgeUpstream, "127.0.0.1:8081")
	e.SetString(signal.FieldEdgeMode, "block")
	e.SetString(signal.FieldEdgeClientTrust, "peer")
	e.SetInt(signal.FieldWAFScore, 0)
	e.SetInt(signal.FieldWAFThreshold, 5)
	e.SetInt(signal.FieldWAFParanoia, 1)
	e.SetInt(signal.FieldActionID, 1)
	e.SetInt(signal.FieldDispositionID, 1)
	e.SetString(signal.FieldPolicyUID, "3a5f0c9b2d1e4f60")
	e.SetString(signal.FieldMetadataReporterUID, "01938a3c-0000-7000-8000-000000000001")
}

func BenchmarkEncode(b *testing.B) {
	l := newLayout()
	events := make([]*signal.Event, 4096)
	for i := range events {
		events[i] = new(signal.Event)
		httpEvent(events[i], i)
	}
	s := newStage(l)
	var w *fileWriter
	var err error
	b.ReportAllocs()
	var size int64
	rows := 0
	for i := 0; b.Loop(); i++ {
		s.add(events[i%len(events)])
		if s.rows == stageRows {
			if w == nil {
				if w, err = createFile(l, b.TempDir(), s.groups); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.write(s); err != nil {
				b.Fatal(err)
			}
			s.reset()
		}
		if w != nil && w.rows >= 1<<18 {
			if err := w.finish(); err != nil {
				b.Fatal(err)
			}
			st, _ := w.file.Stat()
			size += st.Size()
			rows += w.rows
			w.discard()
			w = nil
		}
	}
	if rows > 0 {
		b.ReportMetric(float64(size)/float64(rows), "B/row")
	}
}
