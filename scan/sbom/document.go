package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/spdx"
	"github.com/testudo-sec/testudo/scan"
)

// document is an inventory with the names that its packages have in a document.
type document struct {
	inv    *scan.Inventory
	o      WriteOptions
	refs   []string // of each package, unique
	edges  [][]int
	serial string // a UUID
}

func newDocument(inv *scan.Inventory, o WriteOptions) *document {
	d := &document{inv: inv, o: o, refs: make([]string, len(inv.Packages)), edges: make([][]int, len(inv.Packages))}
	seen := map[string]int{rootRef: 1}
	byPlace := map[string]int{}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d\n", inv.Target, inv.Asset, o.Version, o.Time.Unix())
	for i := range inv.Packages {
		p := &inv.Packages[i]
		ref := p.PURL
		if ref == "" {
			ref = "package:" + p.Name + "@" + p.Version
		}
		ref = scan.Printable(ref) // XML can hold nothing else: two names must not become one there
		// Another package's URL may look like a numbered one.
		for name := ref; seen[ref] > 0; {
			seen[name]++
			ref = name + "#" + strconv.Itoa(seen[name])
		}
		seen[ref]++
		d.refs[i] = ref
		if _, ok := byPlace[place(p, p.PURL)]; !ok {
			byPlace[place(p, p.PURL)] = i
		}
		text, _ := json.Marshal(p)
		h.Write(text)
	}
	for i := range inv.Packages {
		p := &inv.Packages[i]
		for _, to := range p.DependsOn {
			if j, ok := byPlace[place(p, to)]; ok && j != i {
				d.edges[i] = append(d.edges[i], j)
			}
		}
	}
	sum := h.Sum(nil)[:16]
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // version 8: of our own making (RFC 9562)
	x := hex.EncodeToString(sum)
	d.serial = x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
	return d
}

// place tells packages of the same name in different files apart.
func place(p *scan.Package, purl string) string { return purl + "\x00" + p.Path + "\x00" + p.Layer }

func (d *document) time() string {
	if d.o.Time.IsZero() {
		return ""
	}
	return d.o.Time.UTC().Format(time.RFC3339)
}

// name of what was scanned.
func (d *document) name() string {
	if d.inv.Target == "" {
		return "target"
	}
	return scan.Printable(d.inv.Target)
}

// prefix of the names of our properties.
const prefix = "testudo:"

// pair is a property.
type pair struct{ name, value string }

// properties are what the formats have no place for.
func properties(p *scan.Package) []pair {
	var out []pair
	add := func(name, value string) {
		if value != "" {
			out = append(out, pair{prefix + name, value})
		}
	}
	add("ecosystem", p.Ecosystem)
	add("name", p.Name)
	add("source", p.Source)
	add("source_version", p.SourceVersion)
	add("path", p.Path)
	if p.Line > 0 {
		add("line", strconv.Itoa(p.Line))
	}
	add("relation", string(p.Relation))
	if p.Dev {
		add("dev", "true")
	}
	add("layer", p.Layer)
	add("instruction", p.Instruction)
	add("base_image", p.BaseImage)
	add("found_by", p.FoundBy)
	return out
}

// set takes a property back.
func set(p *scan.Package, name, value string) {
	name, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return
	}
	switch name {
	case "ecosystem":
		p.Ecosystem = value
	case "name":
		p.Name = value
	case "source":
		p.Source = value
	case "source_version":
		p.SourceVersion = value
	case "path":
		p.Path = value
	case "line":
		if n, err := strconv.Atoi(value); err == nil && n > 0 {
			p.Line = n
		}
	case "relation":
		switch r := scan.Relation(value); r {
		case scan.Direct, scan.Transitive, scan.Root:
			p.Relation = r
		}
	case "dev":
		p.Dev = value == "true"
	case "layer":
		p.Layer = value
	case "instruction":
		p.Instruction = value
	case "base_image":
		p.BaseImage = value
	case "found_by":
		p.FoundBy = value
	}
}

// hashNames are the algorithms: ours, those of CycloneDX and SPDX, and how many hexadecimal digits they have.
var hashNames = []struct {
	ours, cyclonedx, spdx string
	digits                int
}{
	{"md5", "MD5", "MD5", 32}, {"sha1", "SHA-1", "SHA1", 40}, {"sha256", "SHA-256", "SHA256", 64}, {"sha384", "SHA-384", "SHA384", 96}, {"sha512", "SHA-512", "SHA512", 128},
}

// isDigest reports whether the value is so many hexadecimal digits.
func isDigest(value string, digits int) bool {
	_, err := hex.DecodeString(value)
	return err == nil && len(value) == digits
}

func hashes(p *scan.Package, name func(i int) string) []pair {
	var out []pair
	for _, digest := range p.Digests {
		kind, value, _ := strings.Cut(digest, ":")
		for i, h := range hashNames {
			if h.ours == kind && isDigest(value, h.digits) {
				out = append(out, pair{name(i), value})
			}
		}
	}
	return out
}

// expression joins a package's licences to one, if all of them are expressions.
func expression(p *scan.Package) (string, bool) {
	var all []string
	for _, l := range p.Licenses {
		e, err := spdx.Parse(l)
		if err != nil {
			return "", false
		}
		if s := e.String(); len(e.Or) > 0 && len(p.Licenses) > 1 {
			all = append(all, "("+s+")")
		} else {
			all = append(all, s)
		}
	}
	return strings.Join(all, " AND "), len(all) > 0
}
