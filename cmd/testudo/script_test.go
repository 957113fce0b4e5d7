package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// status runs a program and compares its exit code: status 1 testudo scan .
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// waitFor runs a program until it succeeds.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: waitfor PROGRAM ARG...")
	}
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ts.Exec(args[0], args[1:]...); err == nil {
			return
		}
	}
	ts.Fatalf("waited in vain: %v", err)
}

// holding returns the file below a folder that holds the text, and where.
func holding(ts *testscript.TestScript, folder, text string) (path string, at int) {
	at = -1
	ts.Check(filepath.WalkDir(ts.MkAbs(folder), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || at >= 0 {
			return err
		}
		b, err := os.ReadFile(p)
		path, at = p, bytes.Index(b, []byte(text))
		return err
	}))
	if at < 0 {
		ts.Fatalf("no file below %s holds %q", folder, text)
	}
	return path, at
}

// flip changes one bit of the first place below a folder that holds the text; again, it changes it back.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FOLDER TEXT")
	}
	path, at := holding(ts, args[0], args[1])
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

// cutOff ends the file below a folder that holds the text where the text begins.
func cutOff(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cutoff FOLDER TEXT")
	}
	path, at := holding(ts, args[0], args[1])
	ts.Check(os.Truncate(path, int64(at)))
}

// busy takes an address until the script ends.
func busy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: busy HOST:PORT")
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", args[0])
	ts.Check(err)
	ts.Defer(func() { _ = ln.Close() })
}

// lacks checks that neither the files nor stdout and stderr of the last program hold a text.
func lacks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: lacks TEXT FILE...")
	}
	text := strings.ReplaceAll(args[0], "+", "") // so that the script itself does not hold it
	for _, name := range args[1:] {
		if strings.Contains(ts.ReadFile(name), text) {
			ts.Fatalf("%s holds the secret", name)
		}
	}
}

// secretFile writes a file with a secret that stands nowhere in this repository as a whole.
func secretFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: secretfile FILE NAME SEC+RET")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+" = \""+strings.ReplaceAll(args[2], "+", "")+"\"\n"), 0o600))
}

// gz compresses a file: gz FILE TO.
func gz(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: gz FILE TO")
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes(), 0o600))
}

// escape runs a program with ESC in its arguments replaced by the control character, which may succeed
// or be refused.
func escape(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: escape PROGRAM ARG...")
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "ESC", "\x1b")
	}
	ts.Check(ts.Exec(args[0], args[1:]...))
}

// fetch asks for addresses and wants a status of each: fetch 403 http://127.0.0.1:8080/?q=x.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fetch STATUS URL...")
	}
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, url := range args[1:] {
		resp, err := c.Get(url)
		ts.Check(err)
		_ = resp.Body.Close()
		if got := strconv.Itoa(resp.StatusCode); got != args[0] {
			ts.Fatalf("%s: status %s, want %s", url, got, args[0])
		}
	}
}
