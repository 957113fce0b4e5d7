// Package rxset tells which of many regular expressions match somewhere in a text. It is for those who ask hundreds of expressions
// about each of many short texts, most of which match none, and who need to know no more than whether.
//
// The answer is that of the regexp package for each expression, for every text, be it UTF-8 or not: a byte that is no part of a
// character reads as U+FFFD. A [Pattern] may be Binary instead, and then reads each byte as a character of its own. Where
// the match is, and what its groups are, is for the regexp package to say about the few that match.
//
//	set, err := rxset.New(patterns, rxset.Options{})
//	scratch := set.NewScratch() // one for each goroutine, kept
//	matched := set.Match(text, scratch)
//	if matched.Has(17) { ... }
//
// # How
//
// Expressions are parsed by regexp/syntax, cut down to what decides whether they match (trim.go), and compiled to automata over bytes, with
// the ranges of characters taken apart into the ranges of their bytes (program.go, utf8.go). Such an automaton is made deterministic
// as texts ask for it: a state is the set of instructions that a position of the text is at, and each step from a state by a class
// of bytes is computed once (step.go) and then read from a table (dfa.go). Assertions that look ahead, such as $ and \b, stay in
// the set until the next byte decides them.
//
// Many expressions in one deterministic automaton may have a state for every combination of how far each has come. What makes the
// combinations is that an expression waits: union.*select, once it has seen union, waits for select to the end of the text, and so
// doubles the states of all others. So each expression is either put whole into the front, an automaton that sees every text,
// if nothing in it waits for long (factor.go); or what the front has of it is its rarest factors, parts without such a
// wait that every match must hold, and only if a text holds them does it concern the expression itself. Those stand in
// groups, which are automata of a few expressions each, and which forget an expression when it matched, and stop when
// none is left. Few expressions have no factor that is rare, and are looked for in every text by a group of their own.
// New measures all this by sample texts (plan.go): what has too many states is divided, what matches too often is not
// a front's, and those that the same texts concern stand together.
//
// Literals are such factors too, so the front is also what a search for literals would be: at one read of a table for a byte it takes
// about the time of an Aho-Corasick automaton, and tells more: with the Core Rule Set two to four such reads a byte answer for all. Package textset, which compares constants, is not used here.
//
// A large automaton is quick with texts whose like it has seen, and slow with those that are new: each byte may ask for a state that nobody had. So there are [Tiers]: large
// automata, which a text begins with and leaves when it asks for more than a few new states, and small ones ([Options].Small) of some hundred states each. For
// these most expressions have words (words.go): literals of which every match has one, which package literal looks for in one pass, whatever the text; only
// what has a word in the text is looked for.
//
// Two automata read a text at once: each read of a table waits for the one before, and two may wait together.
//
// # Bounds
//
// Texts and expressions may be an attacker's. A table has bytes of its own and takes more from a pool of all, together [Options].Memory; when there is no more,
// the table is given up and begun anew, once a text at most. Computing steps costs, so a text may cause only so many of them as
// take a fraction of the time that the regexp package needs for the same expressions and text. Where these bounds do not
// suffice, the automaton gives the text up: a front's factors then count as found, and expressions are left to [Pattern].Plain. An
// automaton that gives text after text up although it was full before is tried with ever fewer of them, down to one in 32, so that texts
// which are made to blow automata up cost little more than the regexp package alone. All of this is counted in [Stats].
// Expressions whose programs are too large are left to Plain at once, behind their factors.
//
// # Concurrency
//
// Goroutines share tables, so that what one made the others find warm, and memory does not grow with them. A cell of a table is read
// and written atomically, and is only ever filled in; states are immutable. What a table misses is computed without a lock, which
// is then taken to add the state. A table that is full is replaced by a larger one, or an empty one of the next generation, through
// an atomic pointer; who still reads the old one goes on, and where he misses something comes over to the new one, taking his
// state along.
//
// # Sources
//
// K. Thompson, "Regular Expression Search Algorithm" (CACM 11(6), 1968), for sets of instructions. R. Cox, "Regular Expression
// Matching in the Wild" (2010), https://swtch.com/~rsc/regexp/regexp3.html, for automata over UTF-8, classes of bytes, the cache
// that is emptied when it is full, and assertions that wait for the next byte. The documentation of Rust's regex-automata, its
// hybrid module, for giving up where too little is gained. X. Wang and others, "Hyperscan: A Fast Multi-pattern Regex Matcher for
// Modern CPUs" (NSDI 2019), for taking expressions apart so that the parts which are rare are looked for first.
package rxset
