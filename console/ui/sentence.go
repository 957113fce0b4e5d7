package ui

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// maxPart bounds what a sentence takes of one value: the whole stands among the facts.
const maxPart = 200

// statusFailure is OCSF's status_id of what did not succeed.
const statusFailure = 2

// sentenceOf says what an event is about: who did what, to what, from where. Its words come from outside in part, so
// that it is for vis. Nothing where the event does not say enough.
func sentenceOf(e *signal.Event) string {
	var s string
	switch e.Class {
	case signal.ClassHTTPActivity:
		s = httpSentence(e)
	case signal.ClassProcessActivity:
		s = processSentence(e)
	case signal.ClassFileActivity:
		s = fileSentence(e)
	case signal.ClassNetworkActivity:
		s = networkSentence(e)
	case signal.ClassDNSActivity:
		s = dnsSentence(e)
	case signal.ClassAPIActivity:
		s = apiSentence(e)
	case signal.ClassAuthentication:
		s = signInSentence(e)
	default:
		s = plainSentence(e)
	}
	return strings.TrimSpace(s)
}

// one returns the first of the fields that has a value.
func one(e *signal.Event, fields ...signal.Field) string {
	for _, f := range fields {
		if v := strings.TrimSpace(valueText(e, f)); v != "" {
			return clip(maxPart, v)
		}
	}
	return ""
}

// with returns a word and what belongs to it, or nothing.
func with(word, value string) string {
	if value == "" {
		return ""
	}
	return " " + word + " " + value
}

func failed(e *signal.Event) bool { return e.Int(signal.FieldStatusID) == statusFailure }

// who is the person behind an event.
func who(e *signal.Event) string {
	return one(e, signal.FieldActorUserName, signal.FieldProcessUserName, signal.FieldActorUserEmailAddr, signal.FieldActorUserUID, signal.FieldUserName)
}

func host(e *signal.Event) string {
	return one(e, signal.FieldDeviceHostname, signal.FieldOrchestratorPodName, signal.FieldContainerName, signal.FieldDeviceIP)
}

func from(e *signal.Event) string {
	return one(e, signal.FieldSrcEndpointIP, signal.FieldSrcEndpointHostname)
}

func httpSentence(e *signal.Event) string {
	s := cmp.Or(from(e), "Somebody") + " asked" + with("", one(e, signal.FieldHTTPRequestURLHostname, signal.FieldDstEndpointHostname)) + " for " +
		strings.TrimSpace(one(e, signal.FieldHTTPRequestHTTPMethod)+" "+one(e, signal.FieldHTTPRequestURLPath))
	if code := e.Int(signal.FieldHTTPResponseCode); code != 0 {
		s += " and got " + strconv.FormatInt(code, 10)
	}
	return strings.ReplaceAll(s, "asked  ", "asked ")
}

func processSentence(e *signal.Event) string {
	program := one(e, signal.FieldProcessFilePath, signal.FieldProcessName, signal.FieldProcessFileName)
	command := one(e, signal.FieldProcessCmdLine)
	parent := one(e, signal.FieldProcessParentProcessName, signal.FieldProcessParentProcessFilePath, signal.FieldActorProcessName, signal.FieldActorProcessFilePath)
	user := one(e, signal.FieldProcessUserName, signal.FieldActorUserName, signal.FieldUserName)
	what := cmp.Or(command, program)
	if what == "" {
		return plainSentence(e)
	}
	verb := "ran"
	switch e.Class.Activity(e.Activity) {
	case "Terminate":
		return what + " ended" + with("on", host(e))
	case "Inject":
		verb = "wrote into the memory of"
	case "Open":
		verb = "opened"
	case "Set User ID":
		verb = "changed the user of"
	}
	if module := one(e, signal.FieldModuleFilePath, signal.FieldModuleFileName); module != "" {
		return what + " loaded " + module + with("as", user) + with("on", host(e))
	}
	if key := one(e, signal.FieldRegKeyPath); key != "" {
		return cmp.Or(program, command) + " changed the registry key " + key + with("as", user) + with("on", host(e))
	}
	s := cmp.Or(user, "Somebody") + " " + verb + " " + what + with("on", host(e)) + with("from", parent)
	if failed(e) {
		s += ", which failed"
	}
	return s
}

func fileSentence(e *signal.Event) string {
	path := one(e, signal.FieldFilePath, signal.FieldFileName)
	if path == "" {
		return plainSentence(e)
	}
	verb := map[string]string{"Create": "created", "Read": "read", "Update": "changed", "Delete": "deleted", "Rename": "renamed", "Set Attributes": "changed the attributes of",
		"Set Security": "changed the rights of", "Get Attributes": "looked at", "Get Security": "looked at the rights of", "Encrypt": "encrypted", "Decrypt": "decrypted",
		"Mount": "mounted", "Unmount": "unmounted", "Open": "opened"}[e.Class.Activity(e.Activity)]
	program := one(e, signal.FieldActorProcessFilePath, signal.FieldActorProcessName, signal.FieldProcessFilePath, signal.FieldProcessName)
	user := who(e)
	s := cmp.Or(program, user, "Somebody") + " " + cmp.Or(verb, "touched") + " " + path
	if to := one(e, signal.FieldFileResultPath); to != "" {
		s += " to " + to
	}
	if program != "" {
		s += with("as", user)
	}
	return s + with("on", host(e))
}

func networkSentence(e *signal.Event) string {
	to := one(e, signal.FieldDstEndpointHostname, signal.FieldDstEndpointIP)
	if port := e.Int(signal.FieldDstEndpointPort); to != "" && port != 0 {
		if strings.Contains(to, ":") {
			to = "[" + to + "]"
		}
		to += ":" + strconv.FormatInt(port, 10)
	}
	program := one(e, signal.FieldActorProcessFilePath, signal.FieldActorProcessName, signal.FieldProcessFilePath, signal.FieldProcessName)
	if to == "" && program == "" && from(e) == "" {
		return plainSentence(e)
	}
	verb := map[string]string{"Close": "closed its connection to", "Reset": "was cut off by", "Fail": "could not connect to", "Refuse": "was refused by",
		"Traffic": "talked to", "Listen": "listens at"}[e.Class.Activity(e.Activity)]
	s := cmp.Or(program, from(e), "Somebody") + " " + cmp.Or(verb, "connected to") + " " + cmp.Or(to, "somewhere")
	if proto := one(e, signal.FieldConnectionInfoProtocolName); proto != "" {
		s += " over " + proto
	}
	if program != "" {
		s += with("as", who(e)) + with("from", from(e))
	}
	return s + with("on", host(e))
}

func dnsSentence(e *signal.Event) string {
	name := one(e, signal.FieldQueryHostname)
	if name == "" {
		return plainSentence(e)
	}
	asker := one(e, signal.FieldActorProcessFilePath, signal.FieldActorProcessName, signal.FieldProcessFilePath, signal.FieldProcessName, signal.FieldSrcEndpointIP)
	s := cmp.Or(asker, host(e), "Somebody") + " asked for the name " + name
	if kind := one(e, signal.FieldQueryType); kind != "" {
		s += " (" + kind + ")"
	}
	if asker != "" {
		s += with("on", host(e))
	}
	if answers := one(e, signal.FieldAnswersRData); answers != "" {
		s += " and got " + answers
	} else if rcode := one(e, signal.FieldRcode); rcode != "" {
		s += " and got " + rcode
	}
	return s
}

func apiSentence(e *signal.Event) string {
	operation := one(e, signal.FieldAPIOperation)
	if operation == "" {
		return plainSentence(e)
	}
	s := cmp.Or(who(e), "Somebody") + " called " + operation + with("of", one(e, signal.FieldAPIServiceName))
	resource := strings.TrimSpace(one(e, signal.FieldResourcesType) + " " + one(e, signal.FieldResourcesName, signal.FieldResourcesUID))
	s += with("on", resource)
	if resource != "" {
		s += with("in", one(e, signal.FieldResourcesNamespace))
	}
	s += with("from", from(e))
	switch why := one(e, signal.FieldAPIResponseError, signal.FieldStatusDetail, signal.FieldAPIResponseMessage); {
	case failed(e) && why != "":
		s += ", which failed: " + why
	case failed(e):
		s += ", which failed"
	}
	return s
}

func signInSentence(e *signal.Event) string {
	user := one(e, signal.FieldUserName, signal.FieldActorUserName, signal.FieldUserEmailAddr, signal.FieldUserUID)
	verb, not := "signed in", "could not sign in"
	switch e.Class.Activity(e.Activity) {
	case "Logoff":
		verb, not = "signed out", "could not sign out"
	case "Authentication Ticket", "Preauth":
		verb, not = "got a ticket", "got no ticket"
	case "Service Ticket Request", "Service Ticket Renew":
		verb, not = "got a ticket for a service", "got no ticket for a service"
	}
	if failed(e) {
		verb = not
	}
	s := cmp.Or(user, "Somebody") + " " + verb + with("to", host(e)) + with("from", from(e)) + with("by", one(e, signal.FieldAuthProtocol, signal.FieldLogonType))
	if why := one(e, signal.FieldStatusDetail); failed(e) && why != "" {
		s += ": " + why
	}
	return s
}

// plainSentence is for findings, and for records of which little is known.
func plainSentence(e *signal.Event) string {
	if s := one(e, signal.FieldFindingInfoTitle, signal.FieldMessage); s != "" {
		return s
	}
	log := strings.TrimSpace(one(e, signal.FieldMetadataLogProduct) + " " + one(e, signal.FieldMetadataLogName, signal.FieldMetadataLogCategory))
	if code := one(e, signal.FieldMetadataEventCode); code != "" {
		return strings.TrimSpace(log+" event "+code) + with("on", host(e))
	}
	if about := one(e, signal.FieldScriptContent, signal.FieldServiceName, signal.FieldJobName, signal.FieldRegKeyPath, signal.FieldPipeName, signal.FieldFilePath,
		signal.FieldProcessCmdLine, signal.FieldProcessName, signal.FieldURLURLString); about != "" {
		return strings.TrimSpace(log+": "+about) + with("on", host(e))
	}
	if log != "" {
		return "A record of " + log + with("on", host(e))
	}
	return e.Class.Title()
}
