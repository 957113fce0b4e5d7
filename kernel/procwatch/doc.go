// Package procwatch sees a host without eBPF: on an old kernel, in a sandbox, without privileges. It tells less, and [Watcher.Status] says what is
// missing and what that costs:
//
//   - Processes come from the process connector (netlink, PROC_EVENTS; root in the first network and PID namespaces), completed from /proc, or else from
//     looking at /proc again and again: then a process that lives shorter than the pause between two looks is not seen.
//   - Files that are written or changed come from inotify, without who did it, for paths that begin with a folder that is known; a name anywhere
//     cannot be watched so.
//   - Connections, names, other system calls, requests: nothing.
//
// It speaks records as kernel/bpf does, and stands in its place.
package procwatch
