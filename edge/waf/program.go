package waf

import (
	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// Program reads all that the settings say, the Core Rule Set included, as the fast engine executes it. An error says what of it that
// engine does not know; [New] leaves such rules to Coraza.
func Program(cfg Config) (*seclang.Program, error) {
	return seclang.Parse(coreruleset.FS, directives(&cfg, "/").String())
}
