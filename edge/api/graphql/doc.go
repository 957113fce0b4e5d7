// Package graphql says what a GraphQL request would make a server do before the server does it: how deep it reaches, how many
// values it asks for, how often it repeats itself, and whether it asks about the schema.
//
// A request of a few hundred bytes can ask for millions of values: lists within lists, one field under a thousand aliases (a login tried a
// thousand times), fragments that use each other twice in every step, a batch. Check counts without expanding anything: what a fragment costs is
// worked out once, so the work is in proportion to the text. The text is parsed by vektah/gqlparser with a bound on its tokens; the
// library's validation is not used, since its comparison of overlapping fields is quadratic and worse in the text of a stranger.
//
// Cost is the number of fields that would be answered: a field costs one, and what is under it as often as the list is long. The length
// is taken from the argument that says it (first, last, limit, ...), be it a literal or a variable; with a schema, a list without such an
// argument counts ListSize times. With a schema, fields that it does not know are violations too.
//
// Requests are read as the GraphQL over HTTP draft (https://graphql.github.io/graphql-over-http/draft/) and the multipart request specification
// (https://github.com/jaydenseric/graphql-multipart-request-spec) say. The language is that of October 2021 (https://spec.graphql.org/).
package graphql
