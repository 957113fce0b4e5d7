// Package bus carries batches of events on NATS JetStream: on a server inside the
// process, which opens no port, or on an external one where the configuration names it.
//
// What is promised: a batch that Publish acknowledged is on the disk of the server inside the
// process (it syncs every write); a repeated publication of the same id is stored once; a
// full stream refuses, it never deletes. An external server syncs as its own configuration
// says: set sync_interval: always there for the same promise.
package bus
