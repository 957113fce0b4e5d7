package falco

import (
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// kubernetes returns a record of a Kubernetes audit log, as the logs room reads it.
func kubernetes() *signal.Event {
	e := &signal.Event{Class: signal.ClassAPIActivity, Plane: signal.PlaneLogs}
	e.SetString(signal.FieldMetadataLogProduct, "kubernetes")
	e.SetString(signal.FieldMetadataLogName, "audit")
	e.SetString(signal.FieldAPIOperation, "create")
	e.SetString(signal.FieldActorUserName, "eve")
	e.SetStrings(signal.FieldResourcesType, []string{"pods"})
	e.SetStrings(signal.FieldResourcesNamespace, []string{"shop"})
	e.SetString(signal.FieldURLURLString, "/api/v1/namespaces/shop/pods/x/exec?command=sh&container=a%20b")
	e.SetInt(signal.FieldAPIResponseCode, 201)
	e.SetStrings(signal.FieldActorUserGroupsName, []string{"system:authenticated", "dev"})
	e.SetUnmapped("annotations.authorization.k8s.io/decision", "allow")
	e.SetUnmapped("objectRef.subresource", "exec")
	e.SetUnmapped("requestObject.spec.containers[0].image", "registry:5000/shop/web:1.2")
	e.SetUnmapped("requestObject.spec.containers[1].image", "busybox@sha256:abc")
	e.SetUnmapped("requestObject.spec.containers[1].securityContext.privileged", "true")
	e.SetUnmapped("requestObject.spec.volumes[0].hostPath.path", "/var/run/docker.sock")
	e.SetUnmapped("requestObject.data.token", "abc password=x")
	return e
}

// TestKubernetes runs conditions of the source k8s_audit.
func TestKubernetes(t *testing.T) {
	for cond, want := range map[string]bool{
		`ka.verb = create and ka.target.resource = pods`:                             true,
		`ka.verb in (delete, patch)`:                                                 false,
		`ka.user.name != system:admin and ka.target.namespace = shop`:                true,
		`ka.user.groups intersects (dev, ops)`:                                       true,
		`ka.user.groups in (dev)`:                                                    false, // all of them must be among these
		`ka.user.groups in (dev, "system:authenticated")`:                            true,
		`len(ka.user.groups) = 2`:                                                    true,
		`ka.auth.decision = allow`:                                                   true,
		`ka.target.subresource = exec`:                                               true,
		`ka.uri.param[command] = sh`:                                                 true,
		`ka.uri.param[container] = "a b"`:                                            true,
		`ka.uri.param[tty] exists`:                                                   false,
		`ka.req.pod.containers.image intersects ("busybox@sha256:abc")`:              true,
		`ka.req.pod.containers.image[0] startswith registry`:                         true,
		`ka.req.pod.containers.image[1] startswith registry`:                         false,
		`ka.req.pod.containers.image.repository intersects (registry:5000/shop/web)`: true,
		`ka.req.pod.containers.image.repository[1] = busybox`:                        true,
		`ka.req.pod.containers.privileged intersects (true)`:                         true,
		`ka.req.container.privileged = true`:                                         true,
		`ka.req.pod.host_network = false`:                                            true,
		`ka.req.pod.host_network = true`:                                             false,
		`ka.req.volume.hostpath[/var/run/docker.sock] = true`:                        true,
		`ka.req.volume.hostpath[/etc*] = true`:                                       false,
		`ka.req.pod.volumes.hostpath intersects (/proc, /var/run/docker.sock)`:       true,
		`ka.req.configmap.obj contains password`:                                     true,
		`ka.response.code = 201`:                                                     true,
		`jevt.value[/objectRef/subresource] = exec`:                                  true,
		`json.value[/requestObject/spec/containers/0/image] startswith registry`:     true,
		`ka.impuser.name exists`:                                                     false,
		`not ka.impuser.name exists and jevt.value[/verb] = create`:                  true,
	} {
		file := "- rule: R\n  desc: d\n  condition: " + "|\n    " + cond + "\n  output: by %ka.user.name of %ka.req.pod.containers.image.repository %jevt.value[/verb]\n  priority: INFO\n  source: k8s_audit\n"
		rules, problems := New().Compile([]policy.File{{Name: "a.yaml", Text: []byte(file)}})
		if len(problems) > 0 {
			t.Errorf("%s: %v", cond, problems)
			continue
		}
		if got := judge(rules[0], kubernetes()); got != want {
			t.Errorf("%s: %v", cond, got)
		}
		if judge(rules[0], exec()) {
			t.Errorf("%s fires on an event of another source", cond)
		}
		if got, want := rules[0].Sentence(kubernetes()), "by eve of registry:5000/shop/web,busybox create"; got != want {
			t.Errorf("output %q, want %q", got, want)
		}
	}
}

// TestCloudTrail runs conditions of the source aws_cloudtrail.
func TestCloudTrail(t *testing.T) {
	e := &signal.Event{Class: signal.ClassAPIActivity, Plane: signal.PlaneLogs}
	e.SetString(signal.FieldMetadataLogProduct, "aws")
	e.SetString(signal.FieldMetadataLogName, "cloudtrail")
	e.SetString(signal.FieldAPIOperation, "ConsoleLogin")
	e.SetString(signal.FieldActorUserType, "Root")
	e.SetUnmapped("responseElements.ConsoleLogin", "Success")
	e.SetUnmapped("additionalEventData.MFAUsed", "No")
	file := `
- rule: R
  desc: d
  condition: >
    ct.name="ConsoleLogin" and not ct.error exists and ct.user.identitytype="Root"
    and json.value[/responseElements/ConsoleLogin]="Success" and json.value[/additionalEventData/MFAUsed]="No"
  output: x
  priority: CRITICAL
  source: aws_cloudtrail
`
	rules, problems := New().Compile([]policy.File{{Name: "a.yaml", Text: []byte(file)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if !judge(rules[0], e) {
		t.Error("it does not fire")
	}
	e.SetString(signal.FieldAPIResponseError, "AccessDenied")
	if judge(rules[0], e) {
		t.Error("it fires on a failed sign-in")
	}
}
