package sbom

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// endless gives a head, then as many numbered pieces as fit into size bytes, then a tail.
func endless(size int, head, tail string, piece func(i int) string) io.Reader {
	n, i, state := 0, 0, 0
	return reading(func(p []byte) (int, error) {
		out := 0
		for out+2048 < len(p) {
			var s string
			switch {
			case state == 0:
				s, state = head, 1
			case state == 1 && n < size:
				s, i = piece(i), i+1
			case state == 1:
				s, state = tail, 2
			default:
				if out > 0 {
					return out, nil
				}
				return 0, io.EOF
			}
			copied := copy(p[out:], s)
			out, n = out+copied, n+copied
		}
		return out, nil
	})
}

type reading func([]byte) (int, error)

func (r reading) Read(p []byte) (int, error) { return r(p) }

// TestLargeDocuments reads documents of 4 MB, with TESTUDO_LONG of 200 MB, that are made to cost memory, and wants the heap never to have
// been larger than 1 GB.
func TestLargeDocuments(t *testing.T) {
	size := (4 << 20) / require.Stride(4)
	if os.Getenv("TESTUDO_LONG") != "" {
		size = 200 << 20
	}
	cdx := `{"bomFormat":"CycloneDX","specVersion":"1.6",`
	for name, c := range map[string]struct {
		head, tail string
		piece      func(int) string
	}{
		"packages": {cdx + `"components":[{"type":"library","name":"z"}`, "]}", func(i int) string {
			return fmt.Sprintf(`,{"type":"library","name":"n%d","version":"1.%d","bom-ref":"r%d","purl":"pkg:npm/n%d@1.%d","description":"%s"}`, i, i, i, i, i, strings.Repeat("d", 400))
		}},
		"references": {cdx + `"dependencies":[{"ref":"z"}`, "]}", func(i int) string { return fmt.Sprintf(`,{"ref":"%d","dependsOn":["%da","%db"]}`, i, i, i) }},
		"properties": {cdx + `"services":[{"name":"z"}`, "]}", func(i int) string { return fmt.Sprintf(`,{"name":"%d"}`, i) }},
		"xml": {`<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>`, "</components></bom>", func(i int) string {
			return fmt.Sprintf(`<component type="library" bom-ref="r%d"><name>n%d</name><version>1</version><description>%s</description><purl>pkg:npm/n%d@1</purl></component>`, i, i, strings.Repeat("d", 400), i)
		}},
		"tag-value": {"SPDXVersion: SPDX-2.3\n", "", func(i int) string {
			return fmt.Sprintf("PackageName: n%d\nSPDXID: SPDXRef-%d\nPackageComment: %s\nExternalRef: PACKAGE-MANAGER purl pkg:npm/n%d@1\n", i, i, strings.Repeat("d", 400), i)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inv, err := Read(endless(size, c.head, c.tail, c.piece), DefaultLimits())
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapSys > 1<<30 {
				t.Errorf("%d MB of heap", m.HeapSys>>20)
			}
			if err != nil && !strings.Contains(err.Error(), "more than") {
				t.Error(err)
			}
			if err == nil {
				t.Logf("%d packages, heap %d MB", len(inv.Packages), m.HeapSys>>20)
			} else {
				t.Logf("%v, heap %d MB", err, m.HeapSys>>20)
			}
		})
	}
}
