// Package sigma is the dialect of Sigma rules (https://sigmahq.io): detection rules, correlation rules and filters, by
// version 2.1 of the Sigma specification, as their files stand in public rule sets. docs/sigma.md is its reference.
//
// A rule compiles to one condition of package match: where its log source says that it looks, and what its
// selections say. What the compiled form promises beside the specification:
//
//   - a field is read where internal/logfields says that parsers put it, and under its own name; of a field that holds
//     several values, one that matches is enough;
//   - text is compared without regard to case, each character by Unicode's simple lower case, unless `cased` is said;
//     a regular expression is RE2's, sees case unless `i` is said, and looks anywhere in the value;
//   - a number in a rule is equal to the same number in the event, whether the event has it as a number or as text;
//   - `null` and `exists: false` hold where the event lacks the field; an empty text is a value and is not null;
//   - keywords look at every text of the event, attributes without a field included;
//   - an event that no selection speaks about is never left out by a filter: see [Dialect.Compile].
//
// Rules whose status is deprecated or unsupported load, are listed, and never fire; so does a rule with a placeholder
// that no pipeline gives values for, which the specification says to reject.
//
// Pipelines (see [Config] and docs/sigma.md) are YAML files that rename fields, rewrite log sources, add conditions and
// give values to placeholders.
package sigma
