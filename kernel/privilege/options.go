package privilege

import "errors"

// Options says what becomes of a process.
type Options struct {
	Args    []string // of this process, the program's name first
	Keep    []string // arguments of the keeper, behind the program's name; nil for none
	Data    string   // absolute path of the data directory, which is given to the user if it was root's; "" for none
	Service bool     // the process listens on ports: it keeps what low ones need until Settle
}

// Entered is what [Enter] made of the process.
type Entered struct {
	Keeper  *Keeper // nil where none was started: not root, or not Linux
	Changed bool    // the process was root's, and is an ordinary user's now
	Root    bool    // the process is root's still, because there is nobody else to become
}

// ErrNoKeeper says that the keeper of the sensor is gone, so that no sensor will be started any more.
var ErrNoKeeper = errors.New("the keeper of the sensor is gone: the kernel is watched again after a restart of testudo")
