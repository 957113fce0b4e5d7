// Package vuln judges an inventory for known vulnerabilities: which advisories are about a package
// in that version, by the ecosystem's own order of versions; one finding for one flaw however many
// databases describe it; and how much it matters here.
//
// A finding's severity is not the advisory's but this package's judgement, a priority from 0 to 100
// whose reasons are among the evidence: the rating, known exploitation, its probability, whether the code
// can be reached, whether the package was seen loaded, how exposed the target is. See docs/vulnerabilities.md.
package vuln
