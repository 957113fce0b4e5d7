package engine

import (
	"fmt"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// TestKept holds that a transaction which was large does not keep what it took for the next one, and nothing of what it held.
func TestKept(t *testing.T) {
	p, err := seclang.Parse(coreruleset.FS, "SecRequestBodyAccess On\nSecRequestBodyInMemoryLimit 1000\nSecRequestBodyLimit 4000000\nSecArgumentsLimit 100000\n"+
		"SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES|XML:/*|REQUEST_HEADERS \"@rx .\" \"id:1,phase:2,pass,t:lowercase,setvar:'tx.%{MATCHED_VAR_NAME}=1',ctl:ruleRemoveTargetById=1;ARGS:x\"\n")
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	var cookies, fields strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&cookies, "c%d=%d;", i, i)
		fmt.Fprintf(&fields, "<b>%d</b>", i)
	}
	for kind, body := range map[string]string{"URLENCODED": strings.ReplaceAll(cookies.String(), ";", "&"), "XML": "<a>" + fields.String() + "</a>", "JSON": strings.Repeat("[", 100_000)} {
		tx := e.Begin("id")
		tx.URI("/", "POST", "HTTP/1.1")
		tx.RequestHeader("Cookie", cookies.String())
		tx.RequestHeaders()
		tx.WriteRequestBody([]byte(body))
		tx.singles[variables.ReqbodyProcessor] = kind
		tx.RequestBody()
		if len(tx.narrowings) > 1 {
			t.Errorf("%s: one ctl took targets out %d times", kind, len(tx.narrowings))
		}
		tx.Close()
		if n := len(tx.looks) + cap(tx.looks); n > 2*keptLooks {
			t.Errorf("%s: %d looks stay", kind, n)
		}
		total := 72*cap(tx.scratch) + 40*(cap(tx.data)+cap(tx.kept)+cap(tx.matchedList)) + cap(tx.name) + 8*cap(tx.brackets) + cap(tx.requestBody)
		for v := range tx.keyed {
			total += 56 * cap(tx.keyed[v])
			for _, one := range tx.keyed[v][:cap(tx.keyed[v])] {
				if one != (entry{}) {
					t.Fatalf("%s: a value stays", kind)
				}
			}
		}
		if total > 8*keptBytes {
			t.Errorf("%s: %d bytes stay", kind, total)
		}
	}
}
