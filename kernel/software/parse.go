package software

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// parseStatus reads dpkg's status, or a file of status.d: each is called with every package that is installed (deb-control(5)).
func parseStatus(b []byte, each func(name, version, arch string, same bool)) {
	var name, version, arch, status string
	same := false
	flush := func() {
		if name != "" && (status == "" || strings.HasSuffix(status, " installed")) {
			each(name, version, arch, same)
		}
		name, version, arch, status, same = "", "", "", "", false
	}
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			flush()
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		key, value, ok := bytes.Cut(line, []byte(": "))
		if !ok || len(value) > 256 {
			continue
		}
		switch string(key) {
		case "Package":
			name = string(value)
		case "Version":
			version = string(value)
		case "Architecture":
			arch = string(value)
		case "Status":
			status = string(value)
		case "Multi-Arch":
			same = string(value) == "same"
		}
	}
	flush()
}

// parseSums reads md5sums of dpkg: a digest, two spaces, a path without a slash in front. It stops when each says so.
func parseSums(b []byte, each func(path string, sum []byte) bool) {
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) < 35 || line[32] != ' ' {
			continue
		}
		sum, err := hex.DecodeString(string(line[:32]))
		path := bytes.TrimPrefix(bytes.TrimLeft(line[33:], " *"), []byte("./"))
		if err == nil && len(path) > 0 && !each(string(path), sum) {
			return
		}
	}
}

// parseApk reads the database of installed packages of apk: a letter, a colon and a value each line, an empty line between packages; F is a
// folder, R a file in it, Z the digest of the file before it (Q1: SHA-1, Q2: SHA-256, in base64).
func parseApk(b []byte, begin func(name, version string) bool, file func(path string, sum []byte) bool) {
	var name, version, dir, path string
	begun := false
	var sum []byte
	flush := func() bool {
		if path == "" {
			return true
		}
		if !begun {
			if begun = begin(name, version); !begun {
				return false
			}
		}
		ok := file(path, sum)
		path, sum = "", nil
		return ok
	}
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if !flush() {
				return
			}
			name, version, dir, begun = "", "", "", false
			continue
		}
		if len(line) < 2 || line[1] != ':' || len(line) > 4096 {
			continue
		}
		value := string(line[2:])
		switch line[0] {
		case 'P':
			name = value
		case 'V':
			version = value
		case 'F', 'R':
			if !flush() {
				return
			}
			if line[0] == 'F' {
				dir = value
			} else if path = value; dir != "" {
				path = dir + "/" + value
			}
		case 'Z':
			for _, kind := range []string{"Q1", "Q2"} {
				if text, ok := strings.CutPrefix(value, kind); ok {
					sum, _ = base64.StdEncoding.DecodeString(text)
				}
			}
		}
	}
	flush()
}
