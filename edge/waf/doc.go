// Package waf inspects requests and responses with Coraza and the OWASP Core Rule
// Set, which ships in the binary. It fits [edge.Inspector].
//
// Coraza runs in detection mode and never decides: the anomaly scores, the rules that
// matched and the variables they matched in become fields of the event, and policy
// makes the verdict. One rule engine is shared by all routes; a route's paranoia level is
// set for each exchange.
//
// Results hold no values. The name of a parameter is kept only where it is written as
// a name, so that a bare query such as "?TOKEN" does not end up in a record.
package waf
