package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/trust/ledger"
)

func (a *app) ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "Read and verify the record of every change"}
	cmd.AddCommand(a.ledgerVerifyCommand(), a.ledgerHeadCommand(), a.ledgerListCommand())
	return cmd
}

func (a *app) ledgerVerifyCommand() *cobra.Command {
	var against, key string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every byte of the ledger, and against a head that was kept elsewhere",
		Long: `Check every byte of the ledger. An edited or missing entry is named.

Whoever can write the whole folder can also rewrite the whole ledger and sign it anew.
That shows against a head that was kept elsewhere: print one with "testudo ledger head"
now and then, and hand it to --against.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.existingDataDir()
			if err != nil {
				return err
			}
			o := ledger.VerifyOptions{}
			if cmd.Flags().Changed("key") {
				if o.PublicKey, err = keptKey(key); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("against") {
				if o.Against, err = keptHead(against); err != nil {
					return err
				}
			}
			if c, err := client.Dial(cmd.Context(), assembly.SocketPath(dir)); err == nil {
				o.Live = true // a node is writing to it
				c.Close()
			}
			report, err := ledger.Verify(assembly.LedgerDir(dir), o)
			var damage *ledger.Damage
			if errors.As(err, &damage) {
				fmt.Fprintf(a.stdout, "DAMAGED: %v\n", damage)
				return errAnswered
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%d entries, %d heads: every byte is as it was signed\nroot %s\n", report.Head.Size, report.Heads, report.Head.Hash)
			if report.Against != nil {
				fmt.Fprintf(a.stdout, "it continues the head of %d entries that was kept elsewhere\n", report.Against.Size)
			}
			if report.KeyFromDir {
				fmt.Fprintln(a.stdout, "the key was read from the ledger's own folder: name one that was kept elsewhere with --key")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&against, "against", "", "file with a head that was kept elsewhere")
	cmd.Flags().StringVar(&key, "key", "", "public key that was kept elsewhere: the line that key.pub holds, or a file with it")
	return cmd
}

// maxKept is how much of a file with a head or a key is read; both have a few hundred bytes.
const maxKept = 64 << 10

// keptHead reads a head that was kept elsewhere. A file without one is the caller's
// mistake and no damage; an empty one must not pass for "nothing to compare with".
func keptHead(path string) ([]byte, error) {
	b, err := readKept(path)
	if err != nil {
		return nil, fmt.Errorf("--against: %w", err)
	}
	// A signed note: its text, an empty line, and signatures that begin with a dash.
	if !bytes.Contains(b, []byte("\n\n\u2014 ")) {
		return nil, fmt.Errorf("--against: %s holds no head: keep what testudo ledger head prints", path)
	}
	return b, nil
}

// keptKey returns the public key that is given as itself or as a file.
func keptKey(key string) (string, error) {
	if _, err := note.NewVerifier(strings.TrimSpace(key)); err == nil {
		return key, nil
	}
	b, err := readKept(key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("--key: %w", err)
	}
	key = strings.TrimSpace(string(b))
	if _, err := note.NewVerifier(key); err != nil {
		return "", errors.New("--key: neither a public key nor a file with one: give a copy of key.pub in the ledger's folder")
	}
	return key, nil
}

func readKept(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKept))
}

func (a *app) ledgerHeadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "head",
		Short: "Print the newest signed head, to be kept elsewhere",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.existingDataDir()
			if err != nil {
				return err
			}
			report, err := ledger.Verify(assembly.LedgerDir(dir), ledger.VerifyOptions{Live: true})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s", report.Head.Checkpoint)
			return err
		},
	}
}

func (a *app) ledgerListCommand() *cobra.Command {
	var limit int
	var actor, verb string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, dir, err := a.dial(cmd.Context())
			var page console.Page[console.LedgerEntry]
			q := console.LedgerQuery{Limit: limit, Actor: actor, Verb: verb}
			switch {
			case err == nil:
				defer c.Close()
				page, err = c.LedgerEntries(cmd.Context(), q)
			case errors.Is(err, client.ErrNoNode):
				page, err = assembly.LedgerEntries(cmd.Context(), dir, q)
			}
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "INDEX\tTIME\tACTOR\tVERB\tSUBJECT")
			for _, e := range page.Items {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", e.Index, e.Time.Local().Format(time.DateTime), policy.Printable(e.Actor, 40), e.Verb,
					policy.Printable(e.Subject, 60))
			}
			return w.Flush()
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many entries, up to 500")
	cmd.Flags().StringVar(&actor, "actor", "", "only what this actor did, as in person:ann")
	cmd.Flags().StringVar(&verb, "verb", "", "only this verb, as in block or block.apply")
	return cmd
}
