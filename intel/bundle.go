package intel

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A bundle carries a database to a machine without a network:
//
//	"testudo-intel-bundle 1\n", length of the statement (4 bytes, big endian), statement (JSON), Ed25519 signature (64 bytes), database
//
// The signature is over "testudo advisory bundle 1\n" and the statement, which names the database's length and SHA-256.
const (
	bundleMagic   = "testudo-intel-bundle 1\n"
	bundleDomain  = "testudo advisory bundle 1\n"
	maxStatement  = 64 << 10
	maxBundled    = 100 << 30
	keyTextPrefix = "ed25519:"
)

// Statement is what a bundle's signature vouches for.
type Statement struct {
	Made   time.Time `json:"made"`
	Built  time.Time `json:"built"`  // the database
	Size   int64     `json:"size"`   // bytes
	SHA256 string    `json:"sha256"` // hex, of the database
	Key    string    `json:"key"`    // the signer's, as KeyText writes it
}

// ErrBundle says that a bundle is not as it was signed.
var ErrBundle = errors.New("the bundle is not as it was signed")

// ErrKey says that a bundle is signed by another key than the one that is trusted.
var ErrKey = errors.New("the bundle is signed by another key")

// ErrOlder says that a bundle's database is older than the one that is in use.
var ErrOlder = errors.New("the bundle is older than the database that is in use")

// KeyText writes a public key for people: "ed25519:" and base64.
func KeyText(key ed25519.PublicKey) string {
	return keyTextPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseKey reads what KeyText writes.
func ParseKey(s string) (ed25519.PublicKey, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s), keyTextPrefix)
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("not a public key: %.100q: want %s and 44 characters", s, keyTextPrefix)
	}
	return raw, nil
}

// Export writes the database as a bundle that the signer, which must have an Ed25519 key, vouches for.
func (d *Database) Export(ctx context.Context, w io.Writer, signer crypto.Signer, now time.Time) (Statement, error) {
	key, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return Statement{}, errors.New("the signer has no Ed25519 key")
	}
	if err := d.Verify(ctx); err != nil {
		return Statement{}, err
	}
	content := func() io.Reader { return &contextReader{ctx, io.NewSectionReader(d.f, 0, d.info.Size)} }
	h := sha256.New()
	if _, err := io.Copy(h, content()); err != nil {
		return Statement{}, err
	}
	s := Statement{Made: now.UTC(), Built: d.info.Built, Size: d.info.Size, SHA256: hex.EncodeToString(h.Sum(nil)), Key: KeyText(key)}
	text, err := json.Marshal(&s)
	if err != nil {
		return Statement{}, err
	}
	signature, err := signer.Sign(rand.Reader, append([]byte(bundleDomain), text...), crypto.Hash(0))
	if err != nil {
		return Statement{}, err
	}
	head := binary.BigEndian.AppendUint32([]byte(bundleMagic), uint32(len(text)))
	head = append(append(head, text...), signature...)
	if _, err := w.Write(head); err != nil {
		return Statement{}, err
	}
	_, err = io.Copy(w, content())
	return s, err
}

// ReadStatement reads a bundle's head and checks that its own key signed it. Whether that key is to be trusted is for the
// caller to say; r stands at the database then.
func ReadStatement(r io.Reader) (Statement, error) {
	var s Statement
	head := make([]byte, len(bundleMagic)+4)
	if _, err := io.ReadFull(r, head); err != nil || !bytes.HasPrefix(head, []byte(bundleMagic)) {
		return s, errors.New("not a bundle of advisories: testudo db export makes one")
	}
	n := binary.BigEndian.Uint32(head[len(bundleMagic):])
	if n > maxStatement {
		return s, ErrBundle
	}
	text := make([]byte, int(n)+ed25519.SignatureSize)
	if _, err := io.ReadFull(r, text); err != nil {
		return s, ErrBundle
	}
	text, signature := text[:n], text[n:]
	if err := json.Unmarshal(text, &s); err != nil {
		return s, ErrBundle
	}
	key, err := ParseKey(s.Key)
	if err != nil || !ed25519.Verify(key, append([]byte(bundleDomain), text...), signature) || s.Size < 0 || s.Size > maxBundled {
		return s, ErrBundle
	}
	return s, nil
}

// ImportBundle puts a bundle's database in place, if key signed it and every byte is as it was signed; older ones are refused
// unless older is set. Until the end the old database stays in use.
func ImportBundle(ctx context.Context, r io.Reader, path string, key ed25519.PublicKey, older bool) (Statement, error) {
	s, err := ReadStatement(r)
	if err != nil {
		return s, err
	}
	if s.Key != KeyText(key) {
		return s, fmt.Errorf("%w: %s, not %s", ErrKey, s.Key, KeyText(key))
	}
	if old, err := Open(path); err == nil {
		built := old.Info().Built
		_ = old.Close()
		if s.Built.Before(built) && !older {
			return s, fmt.Errorf("%w: built %s, not %s", ErrOlder, s.Built.Format(time.RFC3339), built.Format(time.RFC3339))
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"import-*")
	if err != nil {
		return s, err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name()) // is not there any more when all went well
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), &contextReader{ctx, io.LimitReader(r, s.Size+1)})
	if err != nil {
		return s, err
	}
	if n != s.Size || hex.EncodeToString(h.Sum(nil)) != s.SHA256 {
		return s, ErrBundle
	}
	d, err := Open(f.Name())
	if err != nil {
		return s, err
	}
	err = d.Verify(ctx)
	if err = errors.Join(err, d.Close()); err != nil {
		return s, err
	}
	return s, putInPlace(f, path)
}
