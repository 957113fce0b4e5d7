// Package coverage prices exclusions of the firewall: which attacks of the Core Rule Set's regression tests are detected under some
// directives, and which are not any more with an exclusion beside them. The tests come with the rules' Go module.
//
// An exclusion is priced twice. All attacks are sent as the tests have them; and the values that attack in them are sent in the very
// parameter, on the very path, that the exclusion is about, which is where it opens something. Neither says what an attacker
// can think of who knows the exclusion: what is lost of known attacks is a measure to compare exclusions by.
//
//	corpus, err := coverage.Load()                         // once: the tests are 3 MB of YAML
//	proposals, err := coverage.Propose(program, alarm)     // narrow to wide
//	err = coverage.Weigh(ctx, corpus, setting, alarm, proposals)
//	before, after := proposals[0].Directives(program)
//
// [Compare] answers the same for any two settings.
package coverage
