package sigma

import (
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalarKind is what a scalar is by YAML 1.2's core schema (section 10.3.2).
type scalarKind uint8

const (
	text scalarKind = iota
	nothing
	truth
	whole
	fraction
)

// readScalar says what a scalar is: text where it is quoted. The parser's own resolution is that of YAML 1.1 in part,
// by which 010 is eight and 1_000 a number.
func readScalar(n *yaml.Node) (scalarKind, int64, float64) {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Kind != yaml.ScalarNode || n.Style&quoted != 0 {
		return text, 0, 0
	}
	v := n.Value
	switch v {
	case "", "~", "null", "Null", "NULL":
		return nothing, 0, 0
	case "true", "True", "TRUE":
		return truth, 1, 0
	case "false", "False", "FALSE":
		return truth, 0, 0
	}
	c := v[0]
	if c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return text, 0, 0
	}
	if digits := strings.TrimLeft(v, "+-"); isDigits(digits) && len(v)-len(digits) <= 1 {
		if i, err := strconv.ParseInt(v, 10, 64); err == nil {
			return whole, i, float64(i)
		}
		return text, 0, 0 // too large for a number here: its digits are compared
	}
	if strings.HasPrefix(v, "0x") || strings.HasPrefix(v, "0o") {
		if i, err := strconv.ParseInt(v, 0, 64); err == nil && !strings.Contains(v, "_") {
			return whole, i, float64(i)
		}
		return text, 0, 0
	}
	if strings.Trim(v, "0123456789.eE+-") == "" && strings.ContainsAny(v, "0123456789") {
		if f, err := strconv.ParseFloat(v, 64); err == nil && !math.IsInf(f, 0) {
			return fraction, 0, f
		}
	}
	return text, 0, 0
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isNull(n *yaml.Node) bool {
	kind, _, _ := readScalar(n)
	return n.Kind == yaml.ScalarNode && kind == nothing
}
