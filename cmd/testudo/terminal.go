package main

import (
	"os"

	"github.com/testudo-sec/testudo/scan/report"
)

// terminal reports whether f is a terminal, its width, and whether colours are welcome.
func terminal(f *os.File) (width int, color, ok bool) { return report.Terminal(f) }
