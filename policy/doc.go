// Package policy judges events: rules of several dialects become one set, and an
// [Engine] turns an event into a verdict.
//
// The pieces, in the order they are used:
//
//   - a [Dialect] (a part, such as policy/native) compiles the text of rule files
//     into [Rule] values; it is the only one who knows the text's language;
//   - a [Loader] reads folders of rule files, hands them to the dialects, and makes
//     a [Set], or says everything that is wrong with file, line and column; it
//     is all or nothing;
//   - an [Engine] judges events by its current set, which [Engine.Swap] replaces while
//     others judge;
//   - a [Watcher] loads again when a file changes, and keeps the old set while the new
//     one has an error.
//
// Judging is deterministic. A verdict is a function of the event, the set, and
// the state of the windows ("the third within ten minutes"), which is itself a fold over the
// events in the order of their sequence numbers. The engine reads no clock, no disk and no
// network; time is the event's. What windows hold can be taken out and put back
// ([Engine.AppendState], [Engine.Restore], [Engine.Resume]), so that they go on over a restart.
//
// A rule has a condition, or a [Correlation]: then it fires on what other rules of its set match over time.
//
// The package imports no dialect: the command names them.
package policy
