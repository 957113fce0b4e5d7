// Package token checks JSON Web Tokens (RFC 7519) that requests bring: who made them, for whom, until when,
// with which scopes.
//
// A Verifier takes the token from a header or a cookie, chooses the issuer by the claim iss, the key by the
// issuer's key set and the header's kid, and says in a Result whose token it is and what is wrong with it.
// It never decides; the caller does.
//
// What is promised:
//
//   - Algorithms are those of the issuer's configuration, never those the token would like; they are all
//     asymmetric, so that "none" and a public key used as a secret of HMAC cannot happen. A key has one kind, and
//     an algorithm that is of another is refused.
//   - Keys come from the configured file or https address alone. What a token says of keys (jwk, jku, x5u, x5c)
//     is not looked at.
//   - Where parsers could disagree, the token is refused: a key twice in its JSON, two tokens in one request,
//     base64 in other than its one form, extensions that must be understood (crit), encrypted and nested tokens.
//   - Nothing of a token is kept or told: the Subject is a keyed hash of iss and sub, a verified token is known by its
//     hash, a Violation names claims and never their values.
//   - Work and memory are bounded: the size of tokens, of key sets, of the memory of verified tokens; key sets are
//     fetched once at a time for an issuer, and not again within seconds, however many tokens name unknown keys.
//
// Key sets are refreshed by Run. One that cannot be fetched stays in use for Config.Stale. Addresses that are not
// public are refused unless Issuer.Private allows them, redirects are not followed.
//
// The package knows nothing of package edge: edge/api hands it the headers of a request.
package token
