// Package software says of an executable what reading it tells: its SHA-256, the package that owns it, and whether it still is what the package
// brought. It answers kernel.Sensor.Executable.
//
// What is read is the file that runs, through /proc/PID/exe, so that renaming or replacing it meanwhile shows nothing else. Each file is read
// once, as long as inode, size and times stay.
//
// Package databases are read in the root of the process: of a container the container's own. They are the container's to write: every file
// is opened within that root, must be a regular one, and is read up to a limit by parsers that allocate no more than they read. What such a
// database claims is a hint and no proof: who may write to it can claim anything.
package software
