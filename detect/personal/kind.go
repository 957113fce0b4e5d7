package personal

import "github.com/testudo-sec/testudo/detect"

// A Kind is one kind of data.
type Kind struct {
	ID    string // lower case with dashes: "card", "de-tax-id"
	Name  string // what people call it: "payment card number"
	Group string // card, bank, national, secret, trace or contact
	Proof string // what a match of it has passed
}

// The groups of kinds.
const (
	Card     = "card"     // payment cards
	Bank     = "bank"     // bank accounts
	National = "national" // numbers that states give to people (and, in Brazil, companies)
	Secret   = "secret"   // private keys, tokens
	Trace    = "trace"    // what errors tell of the inside
	Contact  = "contact"  // e-mail addresses and telephone numbers, in bulk
)

// A Match is a place of a text.
type Match struct {
	Kind *Kind
	// Start and End are the place, in bytes from the text's beginning. What has no bounded length (a private key, a JSON Web
	// Token, a trace) has in a stream as its End how far it was seen when it was told.
	Start, End int
	Confidence detect.Confidence
	Proof      string // what was proved: the kind's, or that of the token's rule
	Word       string // of ours, that was found before it: "ssn"; "" if none was needed or found
	Rule       string // of the provider's token: the id of the secret rule; "" for other kinds
}

// Kinds returns all kinds, in the order of their groups.
func Kinds() []*Kind {
	var out []*Kind
	seen := map[string]bool{}
	add := func(k *Kind) {
		if !seen[k.ID] {
			seen[k.ID] = true
			out = append(out, k)
		}
	}
	for _, n := range numbers() {
		add(n.kind)
	}
	for _, t := range texts() {
		add(t.kind)
	}
	add(providerToken())
	add(emailAddress())
	add(phoneNumber())
	return out
}
