package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/sbom"
)

func (a *app) sbomCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sbom",
		Short: "Make, convert, merge and compare SBOMs, and find packages in them",
		Long: `Make a list of the packages of a folder or an image (SBOM), as CycloneDX or SPDX; convert, merge
and compare such documents; and find out who has a package.`,
	}
	cmd.AddCommand(a.sbomCreateCommand(), a.sbomConvertCommand(), a.sbomMergeCommand(), a.sbomDiffCommand(), a.sbomFindCommand())
	return cmd
}

// sbomOutput are the flags of who writes an SBOM.
type sbomOutput struct{ format, output string }

func sbomFormats() []string {
	var out []string
	for _, f := range sbom.Formats() {
		out = append(out, string(f))
	}
	return out
}

func (o *sbomOutput) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.format, "format", "", "form of the document: "+strings.Join(sbomFormats(), ", ")+" (default by the ending of --output, else "+string(sbom.CycloneDX16JSON)+")")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write to a file instead of standard output")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(sbomFormats(), cobra.ShellCompDirectiveNoFileComp))
}

func (o *sbomOutput) check() error {
	if o.format != "" && !slices.Contains(sbomFormats(), o.format) {
		return fmt.Errorf("--format is %q: want %s", o.format, strings.Join(sbomFormats(), ", "))
	}
	return nil
}

func (a *app) writeSBOM(o *sbomOutput, inv *scan.Inventory) error {
	w := sbom.WriteOptions{Format: sbom.Format(o.format), Time: sourceDate(time.Time{}), Version: buildVersion().Version}
	if o.format == "" {
		w.Format = sbomFormatOf(o.output)
	}
	if o.output == "" {
		return sbom.Write(a.stdout, inv, w)
	}
	return saveTo(o.output, func(f io.Writer) error { return sbom.Write(f, inv, w) })
}

// sbomFormatOf is the form that a file's name asks for.
func sbomFormatOf(name string) sbom.Format {
	name = strings.ToLower(filepath.Base(name))
	switch {
	case strings.HasSuffix(name, ".spdx.json"):
		return sbom.SPDXJSON
	case strings.HasSuffix(name, ".spdx"), strings.HasSuffix(name, ".spdx.txt"):
		return sbom.SPDXTagValue
	case strings.HasSuffix(name, ".xml"):
		return sbom.CycloneDX16XML
	}
	return sbom.CycloneDX16JSON
}

// sourceDate is what SOURCE_DATE_EPOCH says (https://reproducible-builds.org/specs/source-date-epoch/), else the time given.
func sourceDate(t time.Time) time.Time {
	if n, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil && n >= 0 {
		return time.Unix(n, 0).UTC()
	}
	return t
}

// saveSBOM writes an inventory to a file, whose name's ending says in which form.
func (a *app) saveSBOM(name string, inv *scan.Inventory, made time.Time) error {
	if inv == nil {
		return fmt.Errorf("%s: there is no inventory: packages were not looked for", name)
	}
	return saveTo(name, func(w io.Writer) error {
		return sbom.Write(w, inv, sbom.WriteOptions{Format: sbomFormatOf(name), Time: sourceDate(made), Version: buildVersion().Version})
	})
}

func (a *app) readSBOM(name string) (*scan.Inventory, error) {
	var r io.Reader = a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	inv, err := sbom.Read(r, sbom.DefaultLimits())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return inv, nil
}

func (a *app) sbomCreateCommand() *cobra.Command {
	var o sbomOutput
	var exclude []string
	var platform, tag string
	var isImage, strict, plainHTTP bool
	cmd := &cobra.Command{
		Use:   "create TARGET",
		Short: "List the packages of a folder or an image",
		Long: `List the packages of a folder, a file or an image, named as for testudo scan. The same packages give the
same bytes. The document says no time unless SOURCE_DATE_EPOCH does.`,
		Example: `  testudo sbom create . -o shop.cdx.json
  testudo sbom create image.tar --format spdx-json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			f := scanFlags{exclude: exclude}
			r := assembly.ScanRequest{Target: args[0], Inventory: true, Platform: platform, Tag: tag, PlainHTTP: plainHTTP}
			if isImage {
				r.Kind = assembly.ScanImage
			}
			s, err := a.runScan(cmd.Context(), &f, r)
			if err != nil {
				return err
			}
			defer s.plan.Close()
			for _, skip := range s.result.Stats.Skipped {
				fmt.Fprintf(a.stderr, "testudo: left out: %s: %s\n", scan.Printable(skip.Path), scan.Printable(skip.Reason))
			}
			if s.inventory == nil {
				s.inventory = &scan.Inventory{}
			}
			s.inventory.Target = s.result.Root
			if err := a.writeSBOM(&o, s.inventory); err != nil {
				return err
			}
			if strict && s.result.Stats.Incomplete() {
				return errors.New("something could not be looked at (--strict)")
			}
			return nil
		},
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&exclude, "exclude", nil, "pattern of what to leave out, as in .gitignore; may be given several times")
	flags.BoolVar(&isImage, "image", false, "the target is an image, whatever it looks like")
	flags.StringVar(&platform, "platform", "", "of an image for several, as linux/arm64")
	flags.StringVar(&tag, "tag", "", "of an archive that holds several images")
	flags.BoolVar(&plainHTTP, "plain-http", false, "ask the registry without TLS")
	flags.BoolVar(&strict, "strict", false, "exit code 2 if something could not be looked at")
	return cmd
}

func (a *app) sbomConvertCommand() *cobra.Command {
	var o sbomOutput
	cmd := &cobra.Command{
		Use:     "convert FILE",
		Short:   "Write an SBOM in another form",
		Example: "  testudo sbom convert shop.cdx.json --format spdx-json",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			inv, err := a.readSBOM(args[0])
			if err != nil {
				return err
			}
			return a.writeSBOM(&o, inv)
		},
	}
	o.register(cmd)
	return cmd
}

func (a *app) sbomMergeCommand() *cobra.Command {
	var o sbomOutput
	cmd := &cobra.Command{
		Use:     "merge FILE FILE...",
		Short:   "Join SBOMs into one",
		Example: "  testudo sbom merge api.cdx.json web.spdx.json -o all.cdx.json",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			var all []*scan.Inventory
			for _, name := range args {
				inv, err := a.readSBOM(name)
				if err != nil {
					return err
				}
				all = append(all, inv)
			}
			return a.writeSBOM(&o, sbom.Merge(all...))
		},
	}
	o.register(cmd)
	return cmd
}

func (a *app) sbomDiffCommand() *cobra.Command {
	var asJSON, exitCode bool
	cmd := &cobra.Command{
		Use:     "diff BEFORE AFTER",
		Short:   "Tell which packages came, went and changed between two SBOMs",
		Example: "  testudo sbom diff v1.cdx.json v2.cdx.json --exit-code",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			before, err := a.readSBOM(args[0])
			if err != nil {
				return err
			}
			after, err := a.readSBOM(args[1])
			if err != nil {
				return err
			}
			changes := sbom.Diff(before, after)
			if asJSON {
				if changes == nil {
					changes = []sbom.Change{}
				}
				err = indented(a.stdout, changes)
			} else {
				err = sbom.WriteTable(a.stdout, changes)
			}
			if err == nil && exitCode && len(changes) > 0 {
				return errAnswered
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit code 1 if they differ")
	return cmd
}

func indented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (a *app) sbomFindCommand() *cobra.Command {
	var in []string
	var server serverConfig
	var asJSON, exitCode bool
	cmd := &cobra.Command{
		Use:   "find QUERY",
		Short: "Say who has a package, of which versions",
		Long: `Say which of what was scanned has a package. The query is a package URL whose version may be a comparison or
several, in the order of the package's ecosystem; or a part of a name. It is asked of the node that runs on this machine, of a
server, or of SBOM files.`,
		Example: `  testudo sbom find 'pkg:npm/lodash@<4.17.21'
  testudo sbom find 'pkg:deb/debian/openssl@>=3.0 <3.0.13' --server https://testudo.example.com:7443 --token-file token
  testudo sbom find log4j-core --in api.cdx.json --in web.cdx.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := sbom.ParseQuery(args[0])
			if err != nil {
				return err
			}
			if len(in) > 0 && server.URL != "" {
				return errors.New("--in and --server: want one of them")
			}
			var found []console.Package
			switch {
			case len(in) > 0:
				found, err = a.findInFiles(&query, in)
			default:
				found, err = a.findOnNode(cmd.Context(), &server, &query, args[0])
			}
			if err != nil {
				return err
			}
			if asJSON {
				if found == nil {
					found = []console.Package{}
				}
				err = indented(a.stdout, found)
			} else {
				err = printPackages(a.stdout, found)
			}
			if err == nil && exitCode && len(found) > 0 {
				return errAnswered
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&in, "in", nil, "SBOM file to look in; may be given several times")
	flags.StringVar(&server.URL, "server", "", "address of the console to ask instead of this machine's node")
	flags.StringVar(&server.TokenFile, "token-file", "", "file with the token for --server")
	flags.StringVar(&server.CAFile, "ca-file", "", "certificate that the server's is checked against (default those of the system)")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.BoolVar(&exitCode, "exit-code", false, "exit code 1 if the package is there")
	server.Timeout = 30 * time.Second
	return cmd
}

func (a *app) findInFiles(q *sbom.Query, names []string) ([]console.Package, error) {
	var out []console.Package
	for _, name := range names {
		inv, err := a.readSBOM(name)
		if err != nil {
			return nil, err
		}
		unsure := 0
		for i := range inv.Packages {
			p := &inv.Packages[i]
			match, sure := q.Match(p)
			if !sure {
				unsure++
			}
			if match {
				out = append(out, console.Package{Asset: name, PURL: p.PURL, Ecosystem: p.Ecosystem, Name: p.Name, Version: p.Version, Path: p.Path, Line: p.Line,
					Relation: string(p.Relation), Dev: p.Dev, Licenses: p.Licenses, Layer: p.Layer})
			}
		}
		if unsure > 0 {
			fmt.Fprintf(a.stderr, "testudo: %s: %d packages of that name have versions that cannot be compared\n", name, unsure)
		}
	}
	return out, nil
}

// maxFound bounds the answer.
const maxFound = 100_000

func (a *app) findOnNode(ctx context.Context, server *serverConfig, q *sbom.Query, text string) ([]console.Package, error) {
	values := url.Values{"limit": {"500"}}
	if q.Key != "" {
		values.Set("purl", text)
	} else {
		values.Set("text", text)
	}
	page := func(v url.Values) (p console.Page[console.Package], err error) {
		return p, server.call(ctx, "GET", "/api/v1/packages?"+v.Encode(), nil, &p)
	}
	if server.URL == "" {
		c, dir, err := a.dial(ctx)
		if errors.Is(err, client.ErrNoNode) {
			return nil, fmt.Errorf("no node runs on %s: start testudo up first, or name a --server, or files with --in", dir)
		}
		if err != nil {
			return nil, err
		}
		defer c.Close()
		page = func(v url.Values) (console.Page[console.Package], error) { return c.Packages(ctx, v) }
	} else if err := server.validate(); err != nil {
		return nil, err
	}
	var out []console.Package
	for {
		p, err := page(values)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Items...)
		if p.Next == "" {
			return out, nil
		}
		if len(out) >= maxFound {
			fmt.Fprintf(a.stderr, "testudo: only the first %d are shown\n", len(out))
			return out, nil
		}
		values.Set("cursor", p.Next)
	}
}

func printPackages(w io.Writer, all []console.Package) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "nobody has it")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PACKAGE\tVERSION\tWHERE\tFILE\tFLAWS")
	for i := range all {
		p := &all[i]
		place := p.Path
		if p.Line > 0 {
			place += ":" + strconv.Itoa(p.Line)
		}
		var flaws []string
		for _, f := range p.Flaws[:min(len(p.Flaws), 3)] {
			flaws = append(flaws, f.ID)
		}
		if n := len(p.Flaws); n > 3 {
			flaws = append(flaws, fmt.Sprintf("and %d more", n-3))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", scan.Printable(p.Name), scan.Printable(p.Version), scan.Printable(p.Asset), orDash(scan.Printable(place)), orDash(scan.Printable(strings.Join(flaws, ", "))))
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
