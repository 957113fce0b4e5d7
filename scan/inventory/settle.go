package inventory

import (
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// Settle takes out of a sorted inventory what explains a package a second time: of the package.json of an installed module the
// one that the lockfile above it names in the same version, and of requirements and the like what a lock of the same folder names.
// What was known of them only there, as the licence, goes to the one that stays. It implements scan.Settler.
func (x *Extractor) Settle(inv *scan.Inventory) {
	locks := map[string]map[string]int{} // PURL to folder to place
	for i := range inv.Packages {
		p := &inv.Packages[i]
		if isLock(p.FoundBy) && p.PURL != "" {
			if locks[p.PURL] == nil {
				locks[p.PURL] = map[string]int{}
			}
			folder := folderOf(p.Path) + "\x00" + p.Layer
			if _, ok := locks[p.PURL][folder]; !ok {
				locks[p.PURL][folder] = i
			}
		}
	}
	gone := make([]bool, len(inv.Packages))
	for i := range inv.Packages {
		p := &inv.Packages[i]
		by := locks[p.PURL]
		if by == nil || isLock(p.FoundBy) {
			continue
		}
		lock := -1
		switch p.FoundBy {
		case "javascript/packagejson":
			if to, ok := by[folderOf(p.Path)+"\x00"+p.Layer]; ok {
				lock = to // the project itself
			}
			// Of each node_modules on the way up, the lockfile beside it.
			for at := p.Path; lock < 0; {
				cut := strings.LastIndex("/"+at, "/node_modules/")
				if cut < 0 {
					break
				}
				at = strings.TrimSuffix(at[:cut], "/")
				if to, ok := by[at+"\x00"+p.Layer]; ok {
					lock = to
				}
			}
		case "python/requirements", "python/setup":
			if to, ok := by[folderOf(p.Path)+"\x00"+p.Layer]; ok {
				lock = to
			}
		}
		if lock >= 0 {
			into(&inv.Packages[lock], p)
			gone[i] = true
		}
	}
	out := inv.Packages[:0]
	for i := range inv.Packages {
		if !gone[i] {
			out = append(out, inv.Packages[i])
		}
	}
	clear(inv.Packages[len(out):])
	inv.Packages = out
}

// into keeps what only the second knows.
func into(stays, goes *scan.Package) {
	if len(stays.Licenses) == 0 {
		stays.Licenses = goes.Licenses
	}
	if len(stays.Digests) == 0 {
		stays.Digests = goes.Digests
	}
	if stays.Relation == "" {
		stays.Relation = goes.Relation
	}
}

// isLock tells the formats that name exactly what is installed.
func isLock(foundBy string) bool {
	switch foundBy {
	case "javascript/packagelockjson", "javascript/pnpmlock", "javascript/yarnlock", "javascript/bunlock",
		"python/poetrylock", "python/uvlock", "python/pdmlock", "python/pylock", "python/pipfilelock":
		return true
	}
	return false
}

func folderOf(p string) string {
	if at := strings.LastIndexByte(p, '/'); at >= 0 {
		return p[:at]
	}
	return ""
}
