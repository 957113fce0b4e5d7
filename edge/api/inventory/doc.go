// Package inventory learns from traffic which endpoints an API has: /users/{id} from /users/17, who calls
// it, with which parameters, fields and credentials, and what of that differs from a document.
//
// A path goes into a trie for its route. A segment whose form says that it is an id (a number, a UUID, a
// date) is a parameter at once, whatever the order of requests. A word is a name until what is known of
// all words at its place says otherwise: new ones that keep coming, or many that answer alike. Words that
// behave otherwise than their siblings (search beside a thousand user names) stay names.
//
// Only what the server answered with success or a redirect makes a place in the trie; a scanner's 404s
// make none. What few callers asked for is not confirmed, is not told of as a finding, and is the first to
// go. Every table is bounded, and what is dropped is counted (Stats).
//
// Of values only their types are kept. The exceptions: names in paths that are not (yet) known to be
// parameters, and the few words that a field takes again and again, unless its name says that it is
// personal or secret.
//
// The package knows nothing of package edge: edge/api hands it Observations.
package inventory
