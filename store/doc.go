// Package store keeps what was seen. Judged events go through three hands:
//
//   - [Recorder] takes them from many goroutines, without blocking, and sends them in
//     batches to the bus. What the bus acknowledges is on disk.
//   - [Archiver] moves batches from the bus to the lake: files by class and hour.
//     It forgets a batch on the bus only after the lake's files are on disk.
//   - [History] reads both as one: the lake and the batches not yet in it, each
//     event once.
//
// [Live] shows events as they pass.
//
// The bus and the lake are parts in folders of their own (store/bus, store/lake) that the
// command constructs and hands in as the interfaces declared here: [Publisher], [Log],
// [Lake].
//
// What is promised: an event for which [Recorder.Sync] returned nil survives kill -9 and
// power loss, and is read exactly once afterwards. Memory is bounded; what does
// not fit is dropped, counted by plane, and leaves a [Gap] in the history. A full disk
// or a broken bus degrades the store (Health says why) and loses nothing that was
// stored. What is not promised: that an event is on disk when Record returns.
package store
