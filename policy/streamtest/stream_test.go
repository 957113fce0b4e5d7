package streamtest

import (
	"testing"

	"github.com/testudo-sec/testudo/signal"
)

func TestEventsAreMixed(t *testing.T) {
	classes := map[signal.Class]int{}
	attrs, mapped := 0, 0
	for _, e := range Events(1000) {
		classes[e.Class]++
		attrs += len(e.UnmappedAttrs())
		mapped += e.NumFields()
	}
	if len(classes) < 7 || mapped < 6000 || attrs < 2000 {
		t.Errorf("classes %v, %d fields, %d attributes in 1000 events", classes, mapped, attrs)
	}
	t.Logf("classes %v, %d fields, %d attributes in 1000 events", classes, mapped, attrs)
}
