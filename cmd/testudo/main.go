// Command testudo guards applications from the commit to the packet.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the build.
var version = "unknown"

func main() {
	os.Exit(run())
}

// run is the program as a function, so that tests can call it in process.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once: whoever sends it does not want to wait.
	context.AfterFunc(ctx, stop)
	return execute(ctx, &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, own: true}, os.Args[1:])
}
