package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/config"
	"github.com/testudo-sec/testudo/scan/gate"
	"github.com/testudo-sec/testudo/signal"
)

const ciFolder = "../../deploy/ci"

func readYAML(t *testing.T, name string, into any) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := b
	if _, after, ok := strings.Cut(string(b), "\n---\n"); ok { // the first document says what the template takes
		text = []byte(after)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

type actionFile struct {
	Inputs map[string]struct{ Default string }
	Runs   struct {
		Using string
		Steps []struct {
			Run, Shell, Uses string
			Env              map[string]string
		}
	}
}

// TestCIFilesAreSafe: what is used of others is named by a version, never a branch, and nothing that a stranger writes is pasted into a script.
func TestCIFilesAreSafe(t *testing.T) {
	pinned := regexp.MustCompile(`^(\./|[\w-]+/[\w/.-]+@([0-9a-f]{40}|v\d+(\.\d+)*)$)`)
	var flow struct {
		Permissions map[string]string
		Jobs        map[string]struct {
			Steps []struct{ Uses, Run string }
		}
	}
	readYAML(t, filepath.Join(ciFolder, "github/workflow.example.yml"), &flow)
	uses := 0
	for _, job := range flow.Jobs {
		for _, step := range job.Steps {
			if step.Uses != "" {
				uses++
				if !pinned.MatchString(step.Uses) {
					t.Errorf("%s names no version", step.Uses)
				}
			}
		}
	}
	if uses != 3 || flow.Permissions["contents"] != "read" || flow.Permissions["security-events"] != "write" || len(flow.Permissions) != 2 {
		t.Errorf("the workflow uses %d actions with %v", uses, flow.Permissions)
	}
	var action actionFile
	readYAML(t, filepath.Join(ciFolder, "github/action.yml"), &action)
	for _, step := range action.Runs.Steps {
		if strings.Contains(step.Run, "${{") {
			t.Errorf("an input is pasted into the script: %s", step.Run)
		}
	}
	for _, name := range []string{"github/action.yml", "gitlab/testudo.gitlab-ci.yml", "hooks/pre-commit", "../../.pre-commit-hooks.yaml"} {
		b, err := os.ReadFile(filepath.Join(ciFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`\b(curl|wget|docker|npm|pip|apt)\b`).Match(b) {
			t.Errorf("%s fetches something", name)
		}
	}
}

// TestCIPolicy reads the policy that is recommended.
func TestCIPolicy(t *testing.T) {
	var p assembly.CIPolicy
	data, err := os.ReadFile(filepath.Join(ciFolder, "testudo.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Decode("testudo.example.yaml", data, &p); err != nil {
		t.Fatal(err)
	}
	if p.Incomplete == gate.IncompleteNever || p.FailOn.Severity != signal.SeverityHigh || len(p.Accept) != 1 {
		t.Errorf("%+v", p)
	}
}

// TestCIFilesRun runs the very commands that the files hold.
func TestCIFilesRun(t *testing.T) {
	var action actionFile
	readYAML(t, filepath.Join(ciFolder, "github/action.yml"), &action)
	if len(action.Runs.Steps) != 1 || action.Runs.Using != "composite" || action.Runs.Steps[0].Shell != "bash" {
		t.Fatalf("the action is %+v", action.Runs)
	}
	step := action.Runs.Steps[0]
	var gitlab struct {
		Testudo struct {
			Script    []string
			Artifacts struct {
				Paths   []string
				Reports struct{ JUnit, CodeQuality string }
			}
		}
	}
	readYAML(t, filepath.Join(ciFolder, "gitlab/testudo.gitlab-ci.yml"), &gitlab)
	var hooks []struct{ ID, Entry, Language string }
	readYAML(t, "../../.pre-commit-hooks.yaml", &hooks)
	if len(hooks) != 1 || hooks[0].Language != "system" {
		t.Fatalf("hooks %+v", hooks)
	}
	hook, err := filepath.Abs(filepath.Join(ciFolder, "hooks/pre-commit"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/ci",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOOK", hook)
			for name, value := range step.Env {
				input := strings.TrimSuffix(strings.TrimPrefix(value, "${{ inputs."), " }}")
				e.Setenv(name, action.Inputs[input].Default)
			}
			for name, text := range map[string]string{"action.sh": step.Run, "gitlab.sh": strings.Join(gitlab.Testudo.Script, "\n") + "\n", "hook.sh": hooks[0].Entry + "\n"} {
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), []byte(text), 0o600); err != nil {
					return err
				}
			}
			artefacts := strings.Join(append(gitlab.Testudo.Artifacts.Paths, gitlab.Testudo.Artifacts.Reports.JUnit, gitlab.Testudo.Artifacts.Reports.CodeQuality), "\n") + "\n"
			return os.WriteFile(filepath.Join(e.WorkDir, "artefacts.txt"), []byte(artefacts), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"secretfile": secretFile, "status": status},
	})
}
