package archive

import (
	"bytes"
	"strings"
)

// format is a kind of archive.
type format uint8

const (
	unknown format = iota
	zipFile
	tarFile
	gzipFile
	bzip2File
	xzFile
	zstdFile
	sevenZip
	rar
)

// String names the format with an article.
func (f format) String() string {
	return [...]string{"unknown", "a zip archive", "a tar archive", "gzip", "bzip2", "xz", "zstd", "a 7z archive", "a RAR archive"}[f]
}

// isStream reports whether it can be read from the beginning to the end.
func (f format) isStream() bool { return f >= tarFile && f <= zstdFile }

// sniffed is how many bytes show what a file is.
const sniffed = 512

// recognise says what a file is by its first bytes. The name counts for two kinds that may begin with anything: tar archives
// older than POSIX, and zip archives behind a program.
func recognise(head []byte, name string) format {
	if len(head) < 4 {
		return unknown
	}
	switch head[0] {
	case 'P':
		if bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")) {
			return zipFile
		}
	case 0x1f:
		if head[1] == 0x8b && head[2] == 8 {
			return gzipFile
		}
	case 'B':
		if len(head) >= 10 && head[1] == 'Z' && head[2] == 'h' && '1' <= head[3] && head[3] <= '9' && string(head[4:10]) == "1AY&SY" {
			return bzip2File
		}
	case 0xfd:
		if bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")) {
			return xzFile
		}
	case 0x28:
		if bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")) {
			return zstdFile
		}
	case '7':
		if bytes.HasPrefix(head, []byte("7z\xbc\xaf\x27\x1c")) {
			return sevenZip
		}
	case 'R':
		if bytes.HasPrefix(head, []byte("Rar!\x1a\x07")) {
			return rar
		}
	case '#', 'M', 0x7f:
		if strings.HasSuffix(name, ".jar") || strings.HasSuffix(name, ".war") || strings.HasSuffix(name, ".pex") {
			return zipFile
		}
	}
	if len(head) >= 512 && (string(head[257:262]) == "ustar" || strings.HasSuffix(name, ".tar")) && tarSum(head) {
		return tarFile
	}
	return unknown
}

// tarSum checks a tar header's checksum.
func tarSum(head []byte) bool {
	said, sum := int64(0), int64(0)
	for _, c := range bytes.Trim(head[148:156], " \x00") {
		if c < '0' || c > '7' {
			return false
		}
		said = said*8 + int64(c-'0')
	}
	for i, c := range head[:512] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	return sum == said
}
