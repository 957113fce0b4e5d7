package personal

import (
	"fmt"
	"slices"

	"github.com/testudo-sec/testudo/detect"
)

// Config says what is looked for.
type Config struct {
	// Kinds are ids of kinds or names of groups (card, bank, national, secret, trace, contact). Empty: all.
	Kinds []string `yaml:"kinds"`
	// Except are ids or groups that are not looked for.
	Except []string `yaml:"except"`
	// Confidence is the least that counts: low, medium or high. Low finds card numbers beside the name of another number, too.
	Confidence detect.Confidence `yaml:"confidence"`
	// KeepLast is how many of a card's last digits a mask leaves, 0 to 4.
	KeepLast int `yaml:"keep_last"`
	// Contacts is how many different e-mail addresses, and how many telephone numbers, one text may hold before the
	// next are matches. At most 10000.
	Contacts int `yaml:"contacts"`
}

const maxContacts = 10000

// Default looks for everything, leaves the last four digits of cards, and lets 20 addresses through.
func Default() Config {
	return Config{Confidence: detect.Medium, KeepLast: 4, Contacts: 20}
}

// Validate tells what is wrong.
func (c *Config) Validate() error {
	if c.KeepLast < 0 || c.KeepLast > 4 {
		return fmt.Errorf("keep_last %d: want 0 to 4", c.KeepLast)
	}
	if c.Contacts < 0 || c.Contacts > maxContacts {
		return fmt.Errorf("contacts %d: want 0 to %d", c.Contacts, maxContacts)
	}
	if c.Confidence < detect.Low || c.Confidence > detect.High {
		return fmt.Errorf("confidence: want low, medium or high")
	}
	for _, name := range slices.Concat(c.Kinds, c.Except) {
		if !slices.ContainsFunc(Kinds(), func(k *Kind) bool { return k.ID == name || k.Group == name }) {
			return fmt.Errorf("no kind or group of personal data is called %q", name)
		}
	}
	return nil
}

// wants reports whether a kind is looked for.
func (c *Config) wants(k *Kind) bool {
	named := func(names []string) bool {
		return slices.Contains(names, k.ID) || slices.Contains(names, k.Group)
	}
	return (len(c.Kinds) == 0 || named(c.Kinds)) && !named(c.Except)
}
