package catalogue

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed manuals/*.txt
var manuals embed.FS

// WriteManuals puts the product manuals into a new folder dir, for the download
// page must read real files to be open to path traversal.
func WriteManuals(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("writing the manuals: %w", err)
	}
	names, err := fs.Glob(manuals, "manuals/*.txt")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := manuals.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o600); err != nil {
			return fmt.Errorf("writing the manuals: %w", err)
		}
	}
	return nil
}
