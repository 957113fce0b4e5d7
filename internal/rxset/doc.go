// Package rxset matches many regular expressions at once.
package rxset
