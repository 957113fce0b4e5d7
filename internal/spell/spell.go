// Package spell guesses what a misspelt name was meant to be, for error messages.
package spell

import (
	"slices"
	"strings"
)

// Nearest returns the one of names that resembles word most, in any case of letters, or ""
// where none comes near. Where no spelling does, a dotted name that ends in word is
// taken, as in "http_request.url.path" for "url.path".
func Nearest(word string, names []string) string {
	lower := strings.ToLower(word)
	best, bestDistance := "", 2+len(word)/3
	for _, n := range names {
		if d := distance(lower, strings.ToLower(n), bestDistance); d < bestDistance {
			best, bestDistance = n, d
		}
	}
	if best != "" || word == "" {
		return best
	}
	if i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(strings.ToLower(n), "."+lower) }); i >= 0 {
		return names[i]
	}
	return ""
}

// distance is the Levenshtein distance of a and b in bytes, or limit where it is not less.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
		if slices.Min(row) >= limit {
			return limit
		}
	}
	return min(row[len(b)], limit)
}
