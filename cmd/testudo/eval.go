package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rego"
)

func (a *app) ruleEvalCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "eval POLICIES DOCUMENT...",
		Short: "Judge documents by Rego policies: conftest's and Gatekeeper's",
		Long: `Judge documents by Rego policies: conftest's and Gatekeeper's

POLICIES is a folder or file of policies (.rego, and Gatekeeper's templates and constraints in
YAML). A document is a YAML or JSON file, a folder of them, or - for standard input; a YAML file may
hold several.

Exit code 0 says that nothing was refused, 1 that something was (warnings do not count), 2 that
the policies or documents could not be read.`,
		Example: `  testudo rule eval policy/ deployment.yaml
  helm template chart | testudo rule eval policy/ -`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			policies, err := assembly.Policies(cmd.Context(), &a.settings.Policy, args[0])
			if err != nil {
				return err
			}
			e := evaluation{app: a, policies: policies, json: asJSON}
			for _, path := range args[1:] {
				if err := e.path(cmd, path); err != nil {
					return err
				}
			}
			return e.finish()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line and no summary")
	return cmd
}

// stdinJSON is what JSON from the standard input is called where a name decides how it is read.
const stdinJSON = "-.json"

// evaluation is the documents that are being judged.
type evaluation struct {
	*app
	policies                   *rego.Policies
	json                       bool
	documents, refused, warned int
}

// path judges a file, a folder or the standard input.
func (e *evaluation) path(cmd *cobra.Command, path string) error {
	if path == "-" {
		text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), rego.MaxDocument+1))
		if err != nil {
			return err
		}
		name := "-"
		if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(trimmed) {
			name = stdinJSON
		}
		return e.file(cmd, name, text)
	}
	var files []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != path && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir():
		case p == path || slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(p))):
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range files {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(f, rego.MaxDocument+1))
		f.Close()
		if err != nil {
			return err
		}
		if err := e.file(cmd, filepath.ToSlash(p), text); err != nil {
			return err
		}
	}
	return nil
}

// file judges the documents of a file.
func (e *evaluation) file(cmd *cobra.Command, name string, text []byte) error {
	documents, err := rego.Documents(name, text)
	if err != nil {
		return err
	}
	if name == stdinJSON {
		name = "-"
	}
	for i, document := range documents {
		e.documents++
		found, err := e.policies.Judge(cmd.Context(), document)
		if err != nil {
			return fmt.Errorf("%s, document %d: %w", policy.Printable(name, 1000), i+1, err)
		}
		refused := false
		for _, v := range found {
			if refused = refused || !v.Warn; v.Warn {
				e.warned++
			}
			if err := e.print(name, i+1, len(documents), v); err != nil {
				return err
			}
		}
		if refused {
			e.refused++
		}
	}
	return nil
}

// print writes a violation.
func (e *evaluation) print(name string, at, of int, v rego.Violation) error {
	kind := "deny"
	if v.Warn {
		kind = "warn"
	}
	if e.json {
		return json.NewEncoder(e.stdout).Encode(struct {
			File     string `json:"file"`
			Document int    `json:"document"`
			Decision string `json:"decision"`
			Rule     string `json:"rule"`
			Message  string `json:"message"`
			Details  any    `json:"details,omitempty"`
		}{name, at, kind, v.Rule, v.Message, v.Details})
	}
	where := policy.Printable(name, 1000)
	if of > 1 {
		where += fmt.Sprintf("#%d", at)
	}
	_, err := fmt.Fprintf(e.stdout, "%s: %s: %s: %s\n", where, kind, v.Rule, v.Message)
	return err
}

// finish writes the summary. No document at all is an error: a pipeline that names the wrong folder must not be green.
func (e *evaluation) finish() error {
	if e.documents == 0 {
		return errors.New("no document was found: name YAML or JSON files, or - for standard input")
	}
	if !e.json {
		plural := func(n int, word string) string {
			if n == 1 {
				return "1 " + word
			}
			return fmt.Sprintf("%d %ss", n, word)
		}
		if _, err := fmt.Fprintf(e.stdout, "%s judged by %s: %d refused, %s\n", plural(e.documents, "document"), plural(e.policies.Len(), "rule"),
			e.refused, plural(e.warned, "warning")); err != nil {
			return err
		}
	}
	if e.refused > 0 {
		return errAnswered
	}
	return nil
}
