// Package edge guards north-south traffic: a reverse proxy that judges each
// request before it is forwarded.
package edge
