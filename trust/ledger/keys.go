package ledger

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

var originPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$`)

type keys struct {
	signer   note.Signer
	verifier note.Verifier
	public   string
	seal     []byte
}

// loadKeys reads the private key, making one if fresh allows, and sees to it
// that key.pub is its other half.
func loadKeys(dir, origin string, fresh bool) (keys, error) {
	path := filepath.Join(dir, keyFile)
	secret, err := readSmall(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !fresh:
		return keys{}, fmt.Errorf("ledger: %s is missing: the ledger can be verified but not added to; restore the key, or move the directory away to begin a new ledger", path)
	case errors.Is(err, fs.ErrNotExist):
		if secret, err = newKey(origin); err != nil {
			return keys{}, err
		}
		if err := writeFile(path, secret, 0o600); err != nil {
			return keys{}, err
		}
	case err != nil:
		return keys{}, fmt.Errorf("ledger: %w", err)
	}
	if err := private(path); err != nil {
		return keys{}, err
	}
	k, err := parseKey(strings.TrimSpace(string(secret)))
	if err != nil {
		return keys{}, fmt.Errorf("ledger: %s: %w", path, err)
	}

	pubPath := filepath.Join(dir, pubFile)
	public, err := readSmall(pubPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, writeFile(pubPath, []byte(k.public+"\n"), 0o644)
	case err != nil:
		return keys{}, fmt.Errorf("ledger: %w", err)
	case string(public) != k.public+"\n":
		return keys{}, &Damage{File: pubFile, What: "it is not the public half of the file key"}
	}
	return k, nil
}

func newKey(origin string) ([]byte, error) {
	if origin == "" {
		var b [8]byte
		rand.Read(b[:])
		origin = "testudo/ledger/" + hex.EncodeToString(b[:])
	}
	if !originPattern.MatchString(origin) {
		return nil, fmt.Errorf("ledger: origin %.120q: use letters, digits and ./-_, at most 100", origin)
	}
	secret, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("ledger: making a key: %w", err)
	}
	return []byte(secret + "\n"), nil
}

// parseKey takes a private key in the note format apart:
// PRIVATE+KEY+name+hash+base64(1, seed).
func parseKey(secret string) (keys, error) {
	signer, err := note.NewSigner(secret)
	if err != nil {
		return keys{}, errors.New("not a private key in the note format")
	}
	parts := strings.SplitN(secret, "+", 5) // the base64 may hold a plus itself
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize || !originPattern.MatchString(signer.Name()) {
		return keys{}, errors.New("not an Ed25519 key in the note format")
	}
	seed := raw[1:]
	public, err := note.NewEd25519VerifierKey(signer.Name(), ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		return keys{}, err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return keys{}, err
	}
	seal, err := hkdf.Key(sha256.New, seed, nil, "testudo ledger seal v1", 32)
	if err != nil {
		return keys{}, err
	}
	return keys{signer: signer, verifier: verifier, public: public, seal: seal}, nil
}

const sealBytes = 16

// seal authenticates an entry between its write and its head: after a crash,
// Open keeps whole entries that no head covers yet, and must not sign one that
// somebody has edited meanwhile. The chain over the leaf before ties the entry
// to all that stand below it.
func seal(key []byte, before Hash, body []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write(before[:])
	m.Write(body)
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:sealBytes])
}

func validSeal(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sealBytes && !strings.ContainsAny(s, "\r\n")
}

// private refuses a file or directory that others may read.
func private(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		mode := "600"
		if info.IsDir() {
			mode = "700"
		}
		return fmt.Errorf("ledger: %s is open to other users (mode %04o); run: chmod %s %s", path, info.Mode().Perm(), mode, path)
	}
	return nil
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > 4096 {
		return nil, fmt.Errorf("%s is not a small regular file", path)
	}
	return os.ReadFile(path)
}

// writeFile makes a file appear whole or not at all.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("ledger: writing %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
