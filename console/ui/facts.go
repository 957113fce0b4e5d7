package ui

import (
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// factGroup is what an event says about one thing.
type factGroup struct {
	Title string
	Facts []fact
}

// The bounds of what a page shows of an event's attributes; all of them are in its JSON.
const (
	maxAttrs     = 200
	maxAttrValue = 1000
	maxFact      = 2000
	maxItems     = 100
)

// sourceAttr is the attribute in which the logs plane keeps from where a record came.
const sourceAttr = "testudo.source"

type named struct {
	Name  string
	Field signal.Field
}

// factGroups are the fields of events by what they are about, in the order of a page. HTTP requests have groups of their own.
var factGroups = []struct {
	Title   string
	Classes []signal.Class // that begin with this group
	Fields  []named
}{
	{"Who", nil, []named{
		{"User", signal.FieldActorUserName}, {"User id", signal.FieldActorUserUID}, {"Kind of user", signal.FieldActorUserType}, {"Mail", signal.FieldActorUserEmailAddr},
		{"Groups", signal.FieldActorUserGroupsName}, {"Account", signal.FieldActorUserAccountUID}, {"Credential", signal.FieldActorUserCredentialUID}, {"Session", signal.FieldActorSessionUID},
		{"Second factor", signal.FieldActorSessionIsMFA}, {"Session by", signal.FieldActorSessionIssuer}, {"Application", signal.FieldActorAppName}, {"On behalf", signal.FieldActorInvokedBy},
		{"Client", signal.FieldSrcEndpointIP}, {"Client port", signal.FieldSrcEndpointPort}, {"Client name", signal.FieldSrcEndpointHostname}, {"Country", signal.FieldSrcEndpointLocationCountry},
		{"User agent", signal.FieldHTTPRequestUserAgent}, {"Program", signal.FieldActorProcessFilePath}, {"Program name", signal.FieldActorProcessName}, {"Command line", signal.FieldActorProcessCmdLine},
		{"Process id", signal.FieldActorProcessPID}}},
	{"Process", []signal.Class{signal.ClassProcessActivity}, []named{
		{"Command line", signal.FieldProcessCmdLine}, {"Program", signal.FieldProcessFilePath}, {"Name", signal.FieldProcessName}, {"Original name", signal.FieldProcessFileInternalName},
		{"User", signal.FieldProcessUserName}, {"User id", signal.FieldProcessUserUID}, {"Working directory", signal.FieldProcessWorkingDirectory}, {"Process id", signal.FieldProcessPID},
		{"Terminal", signal.FieldProcessTTY}, {"Exit code", signal.FieldProcessExitCode}, {"Integrity", signal.FieldProcessIntegrity}, {"Hashes", signal.FieldProcessFileHashesValue},
		{"Signed by", signal.FieldProcessFileSignatureCertificateSubject}, {"Library", signal.FieldModuleFilePath}, {"Script", signal.FieldScriptContent},
		{"Registry key", signal.FieldRegKeyPath}, {"Registry value", signal.FieldRegValueName}, {"Registry data", signal.FieldRegValueData}, {"Pipe", signal.FieldPipeName},
		{"Scheduled job", signal.FieldJobName}, {"Service", signal.FieldServiceName}}},
	{"Parent process", nil, []named{
		{"Command line", signal.FieldProcessParentProcessCmdLine}, {"Program", signal.FieldProcessParentProcessFilePath}, {"Name", signal.FieldProcessParentProcessName},
		{"User", signal.FieldProcessParentProcessUserName}, {"Process id", signal.FieldProcessParentProcessPID}, {"Ancestors", signal.FieldProcessLineage}}},
	{"Call", []signal.Class{signal.ClassAPIActivity}, []named{
		{"Operation", signal.FieldAPIOperation}, {"Service", signal.FieldAPIServiceName}, {"Group", signal.FieldAPIGroupName}, {"Version", signal.FieldAPIVersion},
		{"Resources", signal.FieldResourcesName}, {"Kinds", signal.FieldResourcesType}, {"Resource ids", signal.FieldResourcesUID}, {"Namespaces", signal.FieldResourcesNamespace},
		{"Parameters", signal.FieldAPIRequestData}, {"Status", signal.FieldAPIResponseCode}, {"Error", signal.FieldAPIResponseError}, {"Answer", signal.FieldAPIResponseMessage},
		{"Call id", signal.FieldAPIRequestUID}}},
	{"Sign-in", []signal.Class{signal.ClassAuthentication}, []named{
		{"User", signal.FieldUserName}, {"User id", signal.FieldUserUID}, {"Domain", signal.FieldUserDomain}, {"Mail", signal.FieldUserEmailAddr}, {"Kind", signal.FieldLogonType},
		{"Protocol", signal.FieldAuthProtocol}, {"Factors", signal.FieldAuthFactorsFactorType}, {"Second factor", signal.FieldIsMFA}, {"Over the network", signal.FieldIsRemote},
		{"Signed in by", signal.FieldLogonProcessName}, {"Certificate", signal.FieldCertificateSubject}, {"Session", signal.FieldSessionUID}}},
	{"File", []signal.Class{signal.ClassFileActivity}, []named{
		{"Path", signal.FieldFilePath}, {"Name", signal.FieldFileName}, {"New path", signal.FieldFileResultPath}, {"Owner", signal.FieldFileOwnerName}, {"Mode", signal.FieldFileMode},
		{"Size", signal.FieldFileSize}, {"Kind", signal.FieldFileMimeType}, {"Hashes", signal.FieldFileHashesValue}, {"Access", signal.FieldAccessMask}, {"Flags", signal.FieldOpenFlags}}},
	{"Query", []signal.Class{signal.ClassDNSActivity}, []named{
		{"Name", signal.FieldQueryHostname}, {"Type", signal.FieldQueryType}, {"Answers", signal.FieldAnswersRData}, {"Result", signal.FieldRcode}}},
	{"Connection", []signal.Class{signal.ClassNetworkActivity}, []named{
		{"Server", signal.FieldDstEndpointIP}, {"Server port", signal.FieldDstEndpointPort}, {"Server name", signal.FieldDstEndpointHostname}, {"Protocol", signal.FieldConnectionInfoProtocolName},
		{"Bytes in", signal.FieldTrafficBytesIn}, {"Bytes out", signal.FieldTrafficBytesOut}, {"Address", signal.FieldURLURLString}}},
	{"Outcome", nil, []named{
		{"Message", signal.FieldMessage}, {"Status", signal.FieldStatusID}, {"Status code", signal.FieldStatusCode}, {"Detail", signal.FieldStatusDetail},
		{"What a rule's refusal led to", signal.FieldKernelOutcome}, {"By", signal.FieldKernelGate}}},
	{"Where", nil, []named{
		{"Host", signal.FieldDeviceHostname}, {"Host address", signal.FieldDeviceIP}, {"System", signal.FieldDeviceOSName}, {"Container", signal.FieldContainerName},
		{"Container id", signal.FieldContainerUID}, {"Image", signal.FieldContainerImageName}, {"Pod", signal.FieldOrchestratorPodName}, {"Namespace", signal.FieldOrchestratorNamespace},
		{"Cluster", signal.FieldOrchestratorCluster}, {"Cloud", signal.FieldCloudProvider}, {"Region", signal.FieldCloudRegion}, {"Account", signal.FieldCloudAccountUID}}},
}

// logFacts says from where the record of an event came.
var logFacts = []named{
	{"Product", signal.FieldMetadataLogProduct}, {"Log", signal.FieldMetadataLogName}, {"Category", signal.FieldMetadataLogCategory}, {"Source's event code", signal.FieldMetadataEventCode},
	{"Source", signal.FieldMetadataLabels}, {"Recorded there", signal.FieldMetadataLoggedTime}, {"Time as written", signal.FieldMetadataOriginalTime},
}

// judgedFields are said elsewhere on the page.
var judgedFields = []signal.Field{
	signal.FieldActionID, signal.FieldDispositionID, signal.FieldIsAlert, signal.FieldFirewallRuleUID, signal.FieldFirewallRuleName, signal.FieldVerdictRules, signal.FieldVerdictReason,
	signal.FieldVerdictFeeding, signal.FieldPolicyUID, signal.FieldMetadataReporterUID, signal.FieldAttacksTacticUID, signal.FieldAttacksTechniqueUID, signal.FieldEdgeClientTrust,
}

// eventFacts returns what the event says, what it is about first, and at last all fields that have no better place.
func eventFacts(e *signal.Event) []factGroup {
	var groups []factGroup
	done := slices.Clone(judgedFields)
	add := func(title string, fields []named) {
		g := factGroup{Title: title}
		for _, n := range fields {
			done = append(done, n.Field)
			if f, ok := factOf(e, n); ok {
				g.Facts = append(g.Facts, f)
			}
		}
		if len(g.Facts) > 0 {
			groups = append(groups, g)
		}
	}
	for _, first := range []bool{true, false} {
		for _, g := range factGroups {
			if slices.Contains(g.Classes, e.Class) == first {
				add(g.Title, g.Fields)
			}
		}
	}
	for _, n := range logFacts {
		done = append(done, n.Field)
	}
	var rest []named
	for f := range e.Each {
		if !f.IsHeader() && !slices.Contains(done, f) {
			rest = append(rest, named{f.Name(), f})
		}
	}
	add("Other fields", rest[:min(len(rest), maxItems)])
	return groups
}

// cameFrom says where the record of an event was read; nothing for what testudo saw itself.
func cameFrom(e *signal.Event) []fact {
	var facts []fact
	for _, n := range logFacts {
		if f, ok := factOf(e, n); ok {
			facts = append(facts, f)
		}
	}
	if at, ok := e.Unmapped(sourceAttr); ok && at != "" {
		facts = append(facts, fact{Name: "Read from", Value: clip(maxFact, at)})
	}
	return facts
}

// attrsOf returns the attributes of a record that have no field, and how many there are beyond those.
func attrsOf(e *signal.Event) (attrs []signal.Attr, rest int) {
	for _, a := range e.UnmappedAttrs() {
		if a.Name == sourceAttr {
			continue
		}
		if len(attrs) == maxAttrs {
			rest++
			continue
		}
		attrs = append(attrs, signal.Attr{Name: clip(200, a.Name), Value: clip(maxAttrValue, a.Value)})
	}
	return attrs, rest
}

func factOf(e *signal.Event, n named) (fact, bool) {
	if !e.Has(n.Field) {
		return fact{}, false
	}
	f := fact{Name: n.Name}
	switch n.Field.Kind() {
	case signal.KindStrings:
		items := e.Strings(n.Field)
		for _, item := range items[:min(len(items), maxItems)] {
			f.Items = append(f.Items, clip(maxFact, item))
		}
		return f, len(f.Items) > 0
	case signal.KindTime:
		f.Time = e.Timestamp(n.Field)
		return f, !f.Time.IsZero()
	case signal.KindBool:
		f.Value = map[bool]string{true: "yes", false: "no"}[e.Bool(n.Field)]
		return f, true
	}
	f.Value = clip(maxFact, valueText(e, n.Field))
	switch n.Field {
	case signal.FieldStatusID:
		f.Value = map[int64]string{1: "success", 2: "failure"}[e.Int(n.Field)]
	case signal.FieldSrcEndpointIP:
		if f.Value != "" {
			f.Link = newQuery(nil).With("client", f.Value).With("plane", "all").At("/traffic")
		}
	}
	return f, f.Value != ""
}

// valueText is a field's recorded value as text, short enough for a line.
func valueText(e *signal.Event, f signal.Field) string {
	switch f.Kind() {
	case signal.KindTime:
		if e.Has(f) {
			return e.Timestamp(f).UTC().Format(time.RFC3339)
		}
	case signal.KindStrings:
		if list := e.Strings(f); len(list) > 5 {
			return strings.Join(list[:5], ", ") + ", …"
		}
	}
	return e.RecordedText(f)
}
