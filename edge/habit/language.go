package habit

import (
	"strings"
	"unicode"
)

// language is a script, or the language of a text in Latin letters. Zero is what is not certain.
type language uint8

const (
	unknown language = iota
	english
	german
	french
	spanish
	italian
	cyrillic
	greek
	arabic
	hebrew
	han
	japanese
	korean
	devanagari
	thai
	numLanguages
)

var languageNames = [numLanguages]string{"", "English", "German", "French", "Spanish", "Italian", "Cyrillic", "Greek", "Arabic", "Hebrew", "Chinese", "Japanese", "Korean", "Devanagari", "Thai"}

// words are frequent in one of the languages, and in none of the others.
func ofWord(w string) language {
	switch w {
	case "the", "and", "of", "to", "is", "that", "with", "for", "this", "are", "was", "it", "you", "not", "have":
		return english
	case "der", "und", "das", "ist", "nicht", "ein", "eine", "mit", "auf", "für", "den", "von", "zu", "ich", "wird":
		return german
	case "le", "les", "et", "est", "pas", "une", "dans", "pour", "qui", "des", "vous", "sur", "avec", "je", "nous":
		return french
	case "el", "los", "las", "y", "una", "por", "para", "con", "del", "más", "muy", "pero", "como", "está", "su":
		return spanish
	case "il", "di", "che", "per", "sono", "della", "gli", "nel", "è", "più", "anche", "questo", "ho", "dei", "alla":
		return italian
	}
	return unknown
}

// Bounds of what is read of a text, and of what makes its language certain.
const (
	maxRead     = 400 // bytes
	leastWords  = 3   // of the language, and three times as many as of any other
	leastLetter = 8   // of the script, and nine in ten
)

// languageOf tells the language or script of a text, where it is certain.
func languageOf(s string) language {
	s = s[:min(len(s), maxRead)]
	var scripts, counts [numLanguages]int
	all := 0
	for _, r := range s {
		switch {
		case r < 0x80:
			if r|0x20 >= 'a' && r|0x20 <= 'z' {
				all++
			}
			continue
		case !unicode.IsLetter(r):
			continue
		}
		all++
		if l := ofLetter(r); l != unknown {
			scripts[l]++
		}
	}
	scripts[japanese], scripts[han] = japaneseOf(scripts[japanese], scripts[han])
	for l, n := range scripts {
		if n >= leastLetter && n*10 >= all*9 {
			return language(l)
		}
	}
	for w := range strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.IsLetter(r) }) {
		if len(w) <= 8 {
			counts[ofWord(lowered(w))]++
		}
	}
	best, second := unknown, 0
	for l := english; l <= italian; l++ {
		switch {
		case best == unknown || counts[l] > counts[best]:
			if best != unknown {
				second = counts[best]
			}
			best = l
		case counts[l] > second:
			second = counts[l]
		}
	}
	if counts[best] >= leastWords && counts[best] >= 3*second {
		return best
	}
	return unknown
}

// lowered is a word in lower case, without an allocation where it is.
func lowered(w string) string {
	for i := 0; i < len(w); i++ {
		if w[i] >= 'A' && w[i] <= 'Z' {
			return strings.ToLower(w)
		}
	}
	return w
}

// japaneseOf counts Chinese characters as Japanese where there is kana.
func japaneseOf(kana, han int) (int, int) {
	if kana > 0 && kana*8 >= han {
		return kana + han, 0
	}
	return kana, han
}

func ofLetter(r rune) language {
	switch {
	case r >= 0x0370 && r < 0x0400:
		return greek
	case r >= 0x0400 && r < 0x0530:
		return cyrillic
	case r >= 0x0590 && r < 0x0600:
		return hebrew
	case r >= 0x0600 && r < 0x0780:
		return arabic
	case r >= 0x0900 && r < 0x0980:
		return devanagari
	case r >= 0x0e00 && r < 0x0e80:
		return thai
	case r >= 0x3040 && r < 0x3100:
		return japanese
	case r >= 0x1100 && r < 0x1200, r >= 0xac00 && r < 0xd7b0:
		return korean
	case r >= 0x3400 && r < 0xa000:
		return han
	}
	return unknown
}
