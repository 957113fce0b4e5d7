package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// checkByDocument verifies a ledger from docs/ledger-format.md alone: it uses
// nothing of this package, and neither tlog nor note.
func checkByDocument(dir string) error {
	file := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		return string(b)
	}
	key := strings.SplitN(strings.TrimSpace(file("key.pub")), "+", 3)
	if len(key) != 3 {
		return errors.New("key")
	}
	raw, err := base64.StdEncoding.DecodeString(key[2])
	if err != nil || len(raw) != 33 || raw[0] != 1 {
		return errors.New("key")
	}
	id := sha256.Sum256(append([]byte(key[0]+"\n"), raw...))
	if hex.EncodeToString(id[:4]) != key[1] {
		return errors.New("key hash")
	}

	var leaves [][32]byte
	lines := strings.SplitAfter(file("entries"), "\n")
	if lines[len(lines)-1] != "" {
		return errors.New("entries do not end in a newline")
	}
	for _, l := range lines[:len(lines)-1] {
		leaves = append(leaves, sha256.Sum256([]byte("\x00"+strings.TrimSuffix(l, "\n"))))
	}

	rest, number, signed := file("heads"), 0, -1
	for rest != "" {
		parts := strings.SplitN(rest, "\n", 8)
		if len(parts) != 8 || parts[4] != "" || parts[6] != "" {
			return errors.New("frame")
		}
		rest = parts[7]
		size, err := strconv.Atoi(parts[1])
		if err != nil || parts[0] != key[0] || size <= signed || size > len(leaves) || number == 0 && size != 0 {
			return errors.New("head")
		}
		root := treeHash(leaves[:size])
		want := fmt.Sprintf("%s\n%d\n%s\nhead %d\n", key[0], size, base64.StdEncoding.EncodeToString(root[:]), number)
		if strings.Join(parts[:4], "\n")+"\n" != want {
			return fmt.Errorf("head %d", number)
		}
		prefix := "— " + key[0] + " "
		sig, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(parts[5], prefix))
		if err != nil || !strings.HasPrefix(parts[5], prefix) || len(parts[5]) != len(prefix)+92 || len(sig) != 68 ||
			binary.BigEndian.Uint32(sig) != binary.BigEndian.Uint32(id[:]) ||
			!ed25519.Verify(raw[1:], []byte(want), sig[4:]) {
			return fmt.Errorf("signature of head %d", number)
		}
		signed = size
		number++
	}
	if signed != len(leaves) {
		return errors.New("entries without a head")
	}
	return nil
}

// treeHash is MTH of RFC 6962, section 2.1.
func treeHash(leaves [][32]byte) [32]byte {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	l, r := treeHash(leaves[:k]), treeHash(leaves[k:])
	return sha256.Sum256(bytes.Join([][]byte{{1}, l[:], r[:]}, nil))
}

func TestIndependentVerifier(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 63, 64, 65, 130} {
		if err := checkByDocument(makeLedger(t, n)); err != nil {
			t.Errorf("%d entries: %v", n, err)
		}
	}
}
