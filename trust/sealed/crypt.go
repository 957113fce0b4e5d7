package sealed

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/testudo-sec/testudo/internal/atomicfile"
	"github.com/testudo-sec/testudo/signal"
)

const (
	keySize   = chacha20poly1305.KeySize
	nonceSize = chacha20poly1305.NonceSizeX
	tagSize   = chacha20poly1305.Overhead
	headSize  = 4 + 16 // length and id

	dayHead = "testudo day key 1\n"
)

// masterKey reads the key that keys of days are sealed with, and makes it where there is none.
func masterKey(path string, create bool) (cipher.AEAD, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		key = make([]byte, keySize)
		_, _ = rand.Read(key) // never fails, by its documentation
		err = atomicfile.Write(path, key)
	}
	if err != nil {
		return nil, err
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("%s: %d bytes, want %d: remove it to have a new one; what is sealed cannot be read any more then", path, len(key), keySize)
	}
	return chacha20poly1305.NewX(key)
}

// makeDay makes the key of a day and puts it, sealed, into a file.
func makeDay(path, day string, master cipher.AEAD) (cipher.AEAD, error) {
	key := make([]byte, keySize)
	_, _ = rand.Read(key)
	nonce := make([]byte, nonceSize, nonceSize+keySize+tagSize)
	_, _ = rand.Read(nonce)
	text := append([]byte(dayHead), master.Seal(nonce, nonce, key, dayBound(day))...)
	if err := atomicfile.Write(path, text); err != nil {
		return nil, err
	}
	return chacha20poly1305.NewX(key)
}

// openDay reads the key of a day.
func openDay(path, day string, master cipher.AEAD) (cipher.AEAD, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(text) != len(dayHead)+nonceSize+keySize+tagSize || string(text[:len(dayHead)]) != dayHead {
		return nil, fmt.Errorf("%s is not the key of a day", path)
	}
	text = text[len(dayHead):]
	key, err := master.Open(nil, text[:nonceSize], text[nonceSize:], dayBound(day))
	if err != nil {
		return nil, fmt.Errorf("%s was sealed with another master key, for another day, or was changed", path)
	}
	return chacha20poly1305.NewX(key)
}

func dayBound(day string) []byte { return []byte("testudo day key " + day) }

// bound is what a record is bound to: moved to another file, or under another id, it does not open.
func bound(s *segment, id signal.ID) []byte {
	b := []byte("testudo sealed request " + s.day + "/" + s.name + "\x00")
	return append(b, id[:]...)
}

// seal makes a record.
func seal(aead cipher.AEAD, s *segment, id signal.ID, text []byte) []byte {
	record := make([]byte, headSize+nonceSize, headSize+nonceSize+len(text)+tagSize)
	binary.BigEndian.PutUint32(record, uint32(16+nonceSize+len(text)+tagSize))
	copy(record[4:], id[:])
	nonce := record[headSize : headSize+nonceSize]
	_, _ = rand.Read(nonce)
	return aead.Seal(record, nonce, text, bound(s, id))
}
