// Package window says when events that belong together have added up to something, over
// spans of event time and for each group apart: "three matches from the same address within ten
// minutes", "ten accounts from one client", "a, then b, on one host".
//
// A [Counter] counts and keeps times alone; a [Window] counts, counts distinct values, adds up, averages,
// takes a percentile, or waits for several things in any order or in a given one, and knows the
// events behind it. Both are folds over the events in the order they are added, and read no clock:
// the same events in the same order give the same answers, on every machine, in every
// replay, and across [Window.AppendState] and [Window.LoadState] at any point. Who needs the same answers in
// a replay adds the events in the same order there. Both are safe for concurrent use.
//
// # Which events a window holds
//
// The window that ends at time t holds the events of a group with times from t-Within to t, both included.
// Events that are added with the same time stand in the order in which they were added.
//
// An event may come late. One that is up to Tolerance older than the newest of its group (and never
// more than Within) takes its place by its time. One that is older is not added, and counted
// ([Stats.Late]).
//
// One that is older than that by more than Within can be in no window with the group's newest events. It
// belongs to a group of its own, the group's past, with windows of its own; so an event with a wrong time in the future
// hides none of those that follow, and logs of two days may be read the newer one first. While a group holds nothing,
// its past takes what is up to Within newer than it. A past is given up, and counted as pushed out, for events that
// are as long before it again.
//
// # When a window completes
//
// Windows are looked at when an event is added, never by themselves: a group that falls silent says
// nothing until its next event. There are two ways.
//
//   - What can only become more with more events starts over. It is asked of each window that the new
//     event is in, which end at that event or, if it was late, at one behind it. If one of them
//     meets the condition the window has completed, and all events of the group are forgotten.
//     So do Temporal, Ordered, and Count, Distinct and Sum whose tests are all AtLeast or Above.
//   - What can also become less is told once, when it begins to hold. It is asked of the window that ends at the
//     group's newest event. The window completes if the condition holds now and did not when the
//     group was last added to; events stay. A group whose window had become empty did not
//     hold. So do Average and Percentile, and everything with a test AtMost, Below, Equal or Unequal.
//
// "Fewer than five" is therefore met by the first event of a group that was silent: a window says what
// is, not what will have been. A rule that means "fewer than five in the whole hour" cannot be told from events
// as they come.
//
// # What a window makes of its events
//
//   - Count: their number.
//   - Distinct: the number of their values. A value stands at the newest time at which it was seen.
//   - Sum, Average: of their numbers, added in the order of their times.
//   - Percentile: the nearest rank: the smallest of the numbers that at least so many percent of them do
//     not exceed.
//   - Temporal: the number of things that were seen, or which ones ([Seen]). A thing stands at the
//     newest time at which it was seen. One event may be several things.
//   - Ordered: each thing once, in the order of their numbers, each another event.
//
// # Bounds
//
// A window holds at most Config.Keys groups, MaxEvents events of a group and MaxHeld events
// in all. What is too much is pushed out in an order that follows from the events: of groups, the one that was
// not added to for longest; of a group, an event that a later one of the same things makes needless, else the oldest. Whatever
// was pushed out before its time is counted ([Stats.Evicted], [Stats.Dropped]).
package window
