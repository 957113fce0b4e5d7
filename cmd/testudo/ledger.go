package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

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
			o := ledger.VerifyOptions{PublicKey: key}
			if against != "" {
				if o.Against, err = os.ReadFile(against); err != nil {
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
	cmd.Flags().StringVar(&key, "key", "", "public key that was kept elsewhere")
	return cmd
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
