// Package history reads git repositories as sources of a scan: [History] gives every version
// of every file once, however many commits hold it, [Staged] what the next commit would bring, [Changes] what differs
// from a base, and [Snapshot] the files of one commit.
//
// The object store is read by this package itself. No program is run, so nothing that a repository
// configures (hooks, filters, monitors, helpers) can run either, nothing is fetched, and no object
// is replaced by another. What is promised: nothing is written; nothing outside the repository is read, where a worktree's
// or submodule's repository counts as it if it names the worktree back, and object folders elsewhere only if [Config.Alternates]
// says so; memory is bounded by the index files, the caches and the
// largest file; what cannot be read is named and counted. Not promised: that objects have the
// content that their names are the hash of.
//
// See docs/decisions/0033-history.md and, for the formats, gitformat-pack(5), gitformat-index(5)
// and gitrepository-layout(5).
package history
