package engine_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Parts of rule sets that are put together at random.
var (
	requestFiles = []string{"905-COMMON-EXCEPTIONS", "911-METHOD-ENFORCEMENT", "913-SCANNER-DETECTION", "920-PROTOCOL-ENFORCEMENT", "921-PROTOCOL-ATTACK", "922-MULTIPART-ATTACK",
		"930-APPLICATION-ATTACK-LFI", "931-APPLICATION-ATTACK-RFI", "932-APPLICATION-ATTACK-RCE", "933-APPLICATION-ATTACK-PHP", "934-APPLICATION-ATTACK-GENERIC", "941-APPLICATION-ATTACK-XSS",
		"942-APPLICATION-ATTACK-SQLI", "943-APPLICATION-ATTACK-SESSION-FIXATION", "944-APPLICATION-ATTACK-JAVA"}
	responseFiles = []string{"950-DATA-LEAKAGES", "951-DATA-LEAKAGES-SQL", "952-DATA-LEAKAGES-JAVA", "953-DATA-LEAKAGES-PHP", "954-DATA-LEAKAGES-IIS", "955-WEB-SHELLS", "956-DATA-LEAKAGES-RUBY"}
	tags          = []string{"attack-sqli", "attack-xss", "attack-rce", "attack-lfi", "attack-protocol", "attack-injection-php", "language-java", "paranoia-level/2", "OWASP_CRS", "platform-windows"}
	ids           = []string{"920350", "920000-920999", "942100", "942000-942999", "941100-941999", "932000-932999", "930100", "933000-933999", "920420", "921000-921999", "942432", "920273", "949110"}
	texts         = []string{"ARGS", "ARGS:q", "ARGS:id", "ARGS:/^f/", "ARGS:json.a", "ARGS_GET", "ARGS_POST", "ARGS_NAMES", "ARGS_GET_NAMES", "ARGS_POST_NAMES", "REQUEST_HEADERS", "REQUEST_HEADERS:User-Agent",
		"REQUEST_HEADERS:/^x-/", "REQUEST_HEADERS_NAMES", "REQUEST_COOKIES", "REQUEST_COOKIES:sid", "REQUEST_COOKIES_NAMES", "REQUEST_URI", "REQUEST_URI_RAW", "REQUEST_LINE", "REQUEST_METHOD", "REQUEST_PROTOCOL",
		"QUERY_STRING", "REQUEST_FILENAME", "REQUEST_BASENAME", "REQUEST_BODY", "FILES", "FILES_NAMES", "MULTIPART_FILENAME", "MULTIPART_PART_HEADERS", "XML:/*", "XML://@*", "TX:own", "TX:/^own/", "MATCHED_VAR",
		"MATCHED_VARS", "MATCHED_VARS_NAMES", "MATCHED_VAR_NAME", "REQBODY_PROCESSOR", "SERVER_NAME", "UNIQUE_ID", "MULTIPART_NAME"}
	numbers = []string{"&ARGS", "&ARGS:q", "&REQUEST_HEADERS", "&REQUEST_HEADERS:Host", "&REQUEST_COOKIES", "&FILES", "ARGS_COMBINED_SIZE", "FILES_COMBINED_SIZE", "REQBODY_ERROR", "MULTIPART_STRICT_ERROR",
		"URLENCODED_ERROR", "REMOTE_PORT", "TX:own", "&TX:own", "&TX:/^own/", "REQUEST_BODY_LENGTH", "HIGHEST_SEVERITY", "ARGUMENTS_LIMIT_REACHED"}
	replies         = []string{"RESPONSE_STATUS", "RESPONSE_HEADERS", "RESPONSE_HEADERS:Content-Type", "RESPONSE_BODY", "RESPONSE_CONTENT_TYPE", "RESPONSE_PROTOCOL", "RESPONSE_HEADERS_NAMES", "RESPONSE_CONTENT_LENGTH"}
	excepted        = []string{"|!ARGS:q", "|!ARGS:/^f/", "|!REQUEST_HEADERS:/^x-/", "|!REQUEST_HEADERS:user-agent", "|!REQUEST_COOKIES:sid", "|!ARGS_NAMES:id", "|!TX:own"}
	transformations = []string{"base64Decode", "base64DecodeExt", "base64Encode", "cmdLine", "compressWhitespace", "cssDecode", "escapeSeqDecode", "hexDecode", "hexEncode", "htmlEntityDecode", "jsDecode", "length",
		"lowercase", "md5", "none", "normalisePath", "normalisePathWin", "removeComments", "removeCommentsChar", "removeNulls", "removeWhitespace", "replaceComments", "replaceNulls", "sha1", "uppercase", "urlDecode",
		"urlDecodeUni", "urlEncode", "utf8toUnicode", "trim", "trimLeft", "trimRight"}
	asked = []string{"@rx a", "@rx (?i)union.{1,20}select", `@rx ^(\w+)=?(.*)$`, `@rx [^\x00-\x7f]`, `@rx (?i:<script|onload\s*=)`, `@rx \b(cat|id|sh)\b`, `@rx ^$`, `@rx ['\"]\s*or\s*['\"\d]`, "@pm select union script etc", "@pm a b",
		"@streq 42", "@streq %{TX.own}", "@contains e", "@contains %{REQUEST_HEADERS.host}", "@beginsWith /", "@beginsWith h", "@endsWith d", "@within 42 hello true GET POST HTTP/1.1", "@detectSQLi", "@detectXSS",
		"@validateByteRange 32-126", "@validateByteRange 1-255", "@validateUrlEncoding", "@validateUtf8Encoding", "@unconditionalMatch", "@noMatch", "@ipMatch 192.0.2.0/24", "@strmatch ../", "@rx etc/passwd", "@rx .*"}
	compared = []string{"@eq 0", "@eq 1", "@gt 0", "@gt 3", "@lt 2", "@ge 1", "@le 5", "@eq %{TX.own}", "@gt %{TX.own2}"}
	done     = []string{"setvar:tx.own=1", "setvar:tx.own=+2", "setvar:tx.own2=-1", "setvar:'tx.own_%{MATCHED_VAR_NAME}=%{MATCHED_VAR}'", "setvar:'tx.own2=%{tx.0}'", "setvar:'tx.inbound_anomaly_score_pl1=+%{tx.critical_anomaly_score}'",
		"ctl:ruleRemoveById=942100", "ctl:ruleRemoveById=942000-942999", "ctl:ruleRemoveByTag=attack-xss", "ctl:ruleRemoveTargetById=942100;ARGS:q", "ctl:ruleRemoveTargetById=920000-949999;ARGS:/^f/",
		"ctl:ruleRemoveTargetByTag=attack-rce;ARGS", "ctl:ruleRemoveTargetByTag=OWASP_CRS;REQUEST_HEADERS:User-Agent", "ctl:ruleRemoveByMsg=SQL Injection Attack Detected via libinjection", "ctl:ruleEngine=Off",
		"ctl:ruleEngine=DetectionOnly", "ctl:ruleEngine=On", "ctl:requestBodyProcessor=JSON", "ctl:requestBodyProcessor=XML", "ctl:requestBodyProcessor=URLENCODED", "ctl:requestBodyAccess=Off", "ctl:forceRequestBodyVariable=On",
		"ctl:responseBodyAccess=On", "skipAfter:END-OWN", "skip:1", "skip:2", "ctl:auditEngine=Off"}
	decisions = []string{"pass", "pass", "pass", "pass", "deny", "deny,status:429", "block", "drop", "allow", "allow:phase", "allow:request", "redirect:https://example.org/"}
)

// ownRules writes rules as a user may, numbered from an id on.
func ownRules(r *rand.Rand, id, n int) string {
	var b strings.Builder
	for range n {
		phase := 1 + r.IntN(4)
		head, changes := ownHead(r, phase)
		fmt.Fprintf(&b, "%s \"id:%d,phase:%d,%s", head, id, phase, pick(r, decisions))
		id++
		b.WriteString(ownActions(r, changes))
		if r.IntN(3) == 0 {
			b.WriteString(",severity:" + pick(r, []string{"CRITICAL", "WARNING", "NOTICE"}))
		}
		for links := r.IntN(4) - 1; links > 0; links-- {
			head, changes := ownHead(r, phase)
			fmt.Fprintf(&b, ",chain\"\n%s \"t:none%s", head, ownActions(r, changes))
		}
		b.WriteString("\"\n")
		if r.IntN(6) == 0 {
			b.WriteString("SecMarker END-OWN\n")
		}
	}
	return b.String()
}

// ownHead returns targets and an operator, and whether what the targets hold changes while rules are run: Coraza transforms such a
// value once in a phase for each list of transformations, and later rules see the old one.
func ownHead(r *rand.Rand, phase int) (head string, changes bool) {
	var targets, op string
	if r.IntN(4) == 0 {
		targets, op = pick(r, numbers), pick(r, compared)
	} else {
		from := [][]string{texts}
		if phase >= 3 {
			from = append(from, replies, replies)
		}
		targets, op = pick(r, from...), pick(r, asked)
		for range r.IntN(3) {
			targets += "|" + pick(r, from...)
		}
		for range r.IntN(2) {
			targets += pick(r, excepted)
		}
	}
	if r.IntN(6) == 0 {
		op = "!" + op
	}
	for _, name := range []string{"MATCHED_", "REQBODY_PROCESSOR", "HIGHEST_SEVERITY", "&"} {
		changes = changes || strings.Contains(targets, name)
	}
	return fmt.Sprintf("SecRule %s \"%s\"", targets, op), changes
}

func ownActions(r *rand.Rand, changes bool) string {
	var b strings.Builder
	for range r.IntN(4) {
		if !changes {
			b.WriteString(",t:" + pick(r, transformations))
		}
	}
	if r.IntN(4) == 0 {
		b.WriteString(",capture")
	}
	if r.IntN(6) == 0 {
		b.WriteString(",multiMatch")
	}
	if r.IntN(2) == 0 {
		b.WriteString(",msg:'" + pick(r, []string{"found", "found in %{MATCHED_VAR_NAME}", "%{TX.0} and %{TX.1}", "%{tx.own}", "of %{REMOTE_ADDR}"}) + "'")
	}
	for range r.IntN(3) {
		b.WriteString("," + pick(r, done))
	}
	return b.String()
}

// exclusions writes what takes rules and targets out when rules are read.
func exclusions(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(4) {
		switch r.IntN(4) {
		case 0:
			b.WriteString("SecRuleRemoveById " + pick(r, ids) + "\n")
		case 1:
			b.WriteString("SecRuleRemoveByTag " + pick(r, tags) + "\n")
		case 2:
			b.WriteString("SecRuleUpdateTargetById 942000-942999 \"!" + pick(r, []string{"ARGS:q", "ARGS:/^f/", "REQUEST_COOKIES", "ARGS_NAMES:id"}) + "\"\n")
		case 3:
			b.WriteString("SecRuleUpdateTargetByTag " + pick(r, tags) + " \"!" + pick(r, []string{"ARGS:id", "REQUEST_HEADERS:User-Agent", "ARGS"}) + "\"\n")
		}
	}
	return b.String()
}

// randomProgram writes directives: some files of the Core Rule Set, or all of them, with rules and exclusions around.
func randomProgram(r *rand.Rand, whole bool) string {
	var b strings.Builder
	b.WriteString("Include @coraza.conf-recommended\nSecAuditEngine Off\nSecRuleEngine " + pick(r, []string{"DetectionOnly", "DetectionOnly", "On"}) + "\n")
	if r.IntN(3) == 0 {
		b.WriteString("SecResponseBodyAccess On\nSecResponseBodyMimeType text/html text/plain application/json\n")
	}
	if r.IntN(8) == 0 {
		b.WriteString("SecArgumentsLimit 3\n")
	}
	if r.IntN(8) == 0 {
		fmt.Fprintf(&b, "SecRequestBodyInMemoryLimit 10\nSecRequestBodyLimit %d\nSecRequestBodyLimitAction %s\n", 20+r.IntN(200), pick(r, []string{"Reject", "ProcessPartial"}))
	}
	if r.IntN(2) == 0 {
		b.WriteString(ownRules(r, 10_000, 1+r.IntN(8)))
	}
	b.WriteString("Include @crs-setup.conf.example\n")
	if whole {
		b.WriteString("Include @owasp_crs/*.conf\n")
	} else {
		if r.IntN(12) > 0 { // without it, settings are not there
			b.WriteString("Include @owasp_crs/REQUEST-901-INITIALIZATION.conf\n")
		}
		for range 1 + r.IntN(2) {
			at := r.IntN(len(requestFiles))
			if name := "Include @owasp_crs/REQUEST-" + requestFiles[at] + ".conf\n"; !strings.Contains(b.String(), name) {
				b.WriteString(name)
			}
		}
		if r.IntN(2) == 0 {
			b.WriteString("Include @owasp_crs/REQUEST-949-BLOCKING-EVALUATION.conf\n")
		}
		if r.IntN(3) == 0 {
			b.WriteString("Include @owasp_crs/RESPONSE-" + pick(r, responseFiles) + ".conf\nInclude @owasp_crs/RESPONSE-959-BLOCKING-EVALUATION.conf\n")
		}
	}
	b.WriteString(exclusions(r))
	if r.IntN(2) == 0 {
		b.WriteString(ownRules(r, 20_000, 1+r.IntN(8)))
	}
	b.WriteString("SecMarker END-OWN\n")
	return b.String()
}
