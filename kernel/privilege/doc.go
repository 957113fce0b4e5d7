// Package privilege divides a testudo that was started by root into three processes, of which the one that strangers can reach is an
// ordinary user's:
//
//   - the node: the process that was started. It becomes the user behind sudo, or the user testudo, by executing itself anew: no thread, file
//     or memory of root is left. It may listen on low ports until it says [Settle].
//   - the keeper: a child that is root. It starts the sensor, and starts it again when it has died. It reads nothing from anybody; the
//     node's end is all that it notices.
//   - the sensor: the keeper's child, root with the capabilities that seeing and touching the kernel takes ([Capabilities]) and the
//     system calls that the filter lists ([Filter]).
//
// The keeper hands both ends of a new link to the sensor and to the node each time; what is spoken over it is not this package's. All this is
// Linux's alone; elsewhere [Enter] changes nothing.
package privilege
