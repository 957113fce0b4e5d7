package inventory

import (
	"strings"
)

// release is what os-release says (man os-release): lower-case id, version as "12" or "3.18.4".
type release struct {
	id, version, pretty, cpe string
}

// os reads the release of the tree that the file stands in.
func (in *input) os() *release {
	if in.release != nil {
		return in.release
	}
	in.release = &release{}
	text := in.other("etc/os-release")
	if text == nil {
		text = in.other("usr/lib/os-release")
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		value = strings.Trim(value, `"'`)
		if len(value) > 200 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' }) {
			continue
		}
		switch key {
		case "ID":
			in.release.id = strings.ToLower(value)
		case "VERSION_ID":
			in.release.version = value
		case "PRETTY_NAME":
			in.release.pretty = value
		case "CPE_NAME":
			in.release.cpe = value
		}
	}
	return in.release
}

// ecosystem is what OSV calls the distribution and its release (OSV schema, "Defined ecosystems"). It is empty for distributions that
// OSV has none for, as of Fedora; without any os-release it is the one that the kind of package means alone.
func (r *release) ecosystem(kind string) string {
	major, _, _ := strings.Cut(r.version, ".")
	with := func(name, suffix string) string {
		if suffix == "" {
			return name
		}
		return name + ":" + suffix
	}
	switch r.id {
	case "debian", "raspbian":
		return with("Debian", major)
	case "ubuntu":
		if year, month, ok := strings.Cut(r.version, "."); ok && month == "04" && len(year) == 2 && (year[1]-'0')%2 == 0 {
			return "Ubuntu:" + r.version + ":LTS"
		}
		return with("Ubuntu", r.version)
	case "alpine":
		parts := strings.SplitN(r.version, ".", 3)
		if len(parts) < 2 {
			return "Alpine"
		}
		return "Alpine:v" + parts[0] + "." + parts[1]
	case "wolfi":
		return "Wolfi"
	case "chainguard":
		return "Chainguard"
	case "minimos":
		return "MinimOS"
	case "alpaquita":
		return with("Alpaquita", r.version)
	case "bellsoft-hardened-containers":
		return with("BellSoft Hardened Containers", r.version)
	case "almalinux":
		return with("AlmaLinux", major)
	case "rocky":
		return with("Rocky Linux", major)
	case "rhel":
		_, suffix, _ := strings.Cut(r.cpe, ":redhat:")
		return with("Red Hat", suffix)
	case "openeuler":
		name := strings.NewReplacer("openEuler ", "", "(", "", ")", "", " ", "-").Replace(r.pretty)
		return with("openEuler", or(name, r.version))
	case "mageia":
		return with("Mageia", major)
	case "azurelinux", "mariner":
		return with("Azure Linux", major)
	case "photon":
		return with("Photon OS", r.version)
	case "opensuse-leap":
		return with("openSUSE", strings.TrimSpace("Leap "+r.version))
	case "opensuse-tumbleweed":
		return "openSUSE:Tumbleweed"
	case "sles", "sled", "sle-micro", "sl-micro":
		// OSV names the product: "SUSE:Linux Enterprise Server 15 SP5".
		return with("SUSE", strings.TrimPrefix(r.pretty, "SUSE "))
	case "":
		return map[string]string{"deb": "Debian", "apk": "Alpine"}[kind]
	}
	return ""
}
