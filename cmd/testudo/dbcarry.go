package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
)

func (a *app) dbExportCommand() *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write the database to one signed file, for machines without a network",
		Long: `Write the database to one signed file, for machines without a network.

It is signed with the key that --key names (Ed25519, PKCS #8, PEM), by default one beside the database,
which is made at the first export. Hand the public key that is printed to "testudo db import --key".`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.database()
			if err != nil {
				return err
			}
			defer d.Close()
			made := keyFile == ""
			if made {
				keyFile = filepath.Join(filepath.Dir(d.Info().Path), "advisories.key")
			}
			key, err := signingKey(keyFile, made)
			if err != nil {
				return err
			}
			if info, err := os.Lstat(args[0]); err == nil && !info.Mode().IsRegular() {
				return fmt.Errorf("%s is there and no file: name another one", scan.Printable(args[0]))
			}
			f, err := os.CreateTemp(filepath.Dir(args[0]), ".testudo-export-*")
			if err != nil {
				return err
			}
			defer os.Remove(f.Name())
			w := bufio.NewWriterSize(f, 256<<10)
			s, err := d.Export(cmd.Context(), w, key, time.Now())
			err = errors.Join(err, w.Flush(), f.Chmod(0o644), f.Sync(), f.Close())
			if err == nil {
				err = os.Rename(f.Name(), args[0])
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s: %d advisories, built %s, signed by\n%s\n", args[0], d.Info().Advisories, s.Built.Format(time.RFC3339), s.Key)
			return nil
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the private key (default: advisories.key beside the database)")
	return cmd
}

// signingKey reads a private key, making one if fresh allows.
func signingKey(path string, fresh bool) (ed25519.PrivateKey, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && fresh {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is open to other users (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := readKept(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: not a private key in PEM", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: not an Ed25519 key in PKCS #8: make one with openssl genpkey -algorithm ed25519", path)
	}
	return key, nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func (a *app) dbImportCommand() *cobra.Command {
	var key string
	var older bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take in a database that testudo db export wrote",
		Long: `Take in a database that testudo db export wrote, after checking every byte of it.

--key names the public key that must have signed it: the line that export printed, or a file with it.
Without --key the first import trusts the key that it finds, says so, and keeps it beside the database:
later imports accept no other. A database older than the one in use is refused.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := a.settings.AdvisoryDatabase(a.data)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			pin := filepath.Join(filepath.Dir(path), "advisories.trusted")
			trusted, pinned, err := trustedKey(key, pin)
			if err != nil {
				return err
			}
			first := trusted == nil
			if first {
				s, err := intel.ReadStatement(bufio.NewReader(f))
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				if trusted, err = intel.ParseKey(s.Key); err != nil {
					return err
				}
				if _, err := f.Seek(0, io.SeekStart); err != nil {
					return err
				}
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			s, err := intel.ImportBundle(cmd.Context(), bufio.NewReaderSize(f, 256<<10), path, trusted, older)
			switch {
			case errors.Is(err, intel.ErrKey) && pinned:
				return fmt.Errorf("%s: %w, which the first import pinned: if you trust the new one, give it with --key, or remove %s", args[0], err, pin)
			case errors.Is(err, intel.ErrOlder):
				return fmt.Errorf("%s: %w: take it with --older", args[0], err)
			case err != nil:
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if first {
				if err := writeNew(pin, []byte(s.Key+"\n"), 0o644); err != nil {
					return err
				}
				fmt.Fprintf(a.stdout, "TRUSTED ON FIRST USE: nothing but the file itself says that this is the right key:\n%s\ncompare it with the one that export printed; later imports accept no other (%s)\n", s.Key, pin)
			}
			fmt.Fprintf(a.stdout, "%s: every byte is as it was signed; built %s\n", path, s.Built.Format(time.RFC3339))
			return nil
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "public key that must have signed it, or a file with it")
	cmd.Flags().BoolVar(&older, "older", false, "take in a database that is older than the one in use")
	return cmd
}

// trustedKey returns the key that is named, else the one that is pinned, else nil.
func trustedKey(named, pin string) (key ed25519.PublicKey, pinned bool, err error) {
	if named != "" {
		if strings.HasPrefix(named, "ed25519:") {
			key, err = intel.ParseKey(named)
			return key, false, err
		}
		text, err := readKept(named)
		if err != nil {
			return nil, false, fmt.Errorf("--key: %w", err)
		}
		key, err = intel.ParseKey(string(text))
		return key, false, err
	}
	text, err := readKept(pin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	key, err = intel.ParseKey(string(text))
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", pin, err)
	}
	return key, true, nil
}
