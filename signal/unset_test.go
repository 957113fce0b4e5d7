package signal

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnset(t *testing.T) {
	var e Event
	e.SetString(FieldMessage, "a")
	e.SetMasked(FieldRawData, "secret", "*")
	e.SetStrings(FieldMetadataLabels, []string{"x", "y"})
	e.SetInt(FieldCount, 7)
	e.Unset(FieldMessage)
	e.Unset(FieldMetadataLabels)
	e.Unset(FieldMetadataLabels) // was unset before
	e.Unset(FieldTime)           // always is set
	e.Unset(0)
	if e.Has(FieldMessage) || e.Str(FieldMessage) != "" || e.Has(FieldMetadataLabels) || e.Strings(FieldMetadataLabels) != nil {
		t.Error("the fields are still set")
	}
	if e.Str(FieldRawData) != "secret" || e.RecordedStr(FieldRawData) != "*" || e.Int(FieldCount) != 7 {
		t.Error("other fields changed")
	}
	e.SetStrings(FieldMetadataLabels, []string{"z"})
	e.SetString(FieldMessage, "b")
	var got []string
	e.Each(func(f Field) bool { got = append(got, f.Name()); return true })
	if d := cmp.Diff([]string{"count", "raw_data", "metadata.labels", "message"}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"z"}, e.Strings(FieldMetadataLabels)); d != "" {
		t.Error(d)
	}
}
