// Package assembly puts the parts of testudo together: it is the only place, beside the
// subcommands, that names them. Settings is testudo.yaml, Open opens a data directory,
// and Machine is everything that one machine runs.
package assembly
