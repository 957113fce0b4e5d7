package reach

import (
	"context"
	"errors"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"golang.org/x/vuln/scan"
)

// Main is the child: it analyses the module in dir for what the files in db describe and writes govulncheck's messages
// to out. Its arguments are the last two of the command line.
func Main(ctx context.Context, args []string, out, errOut io.Writer) error {
	if len(args) != 2 {
		return errors.New("want two arguments: the module's folder and the one of what to look for")
	}
	dir, db := args[0], args[1]
	location := url.URL{Scheme: "file", Path: filepath.ToSlash(db)}
	if !strings.HasPrefix(location.Path, "/") {
		location.Path = "/" + location.Path
	}
	cmd := scan.Command(ctx, "-json", "-test=false", "-C", dir, "-db", location.String(), "./...")
	cmd.Stdout, cmd.Stderr, cmd.Stdin = out, errOut, strings.NewReader("")
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Wait()
}
