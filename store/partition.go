package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

const (
	hour       = int64(time.Hour)
	hourLayout = "2006-01-02T15"
)

// Partition is a class of events and an hour of their time: a folder of the lake.
type Partition struct {
	Class signal.Class
	Hour  int64 // hours since the Unix epoch, UTC
}

// PartitionOf returns the partition that an event belongs to.
func PartitionOf(e *signal.Event) Partition { return Partition{e.Class, HourOf(e.Time)} }

// HourOf returns the hours since the Unix epoch of a time in nanoseconds, rounded down.
func HourOf(ns int64) int64 {
	h := ns / hour
	if ns%hour < 0 {
		h--
	}
	return h
}

// Start returns the first moment of the partition's hour in UTC.
func (p Partition) Start() time.Time { return time.Unix(p.Hour*3600, 0).UTC() }

// End returns the first moment after the partition's hour in UTC.
func (p Partition) End() time.Time { return p.Start().Add(time.Hour) }

// String returns the folder, as in "class=http_activity/hour=2026-11-22T10".
func (p Partition) String() string {
	return "class=" + p.Class.String() + "/hour=" + p.Start().Format(hourLayout)
}

// ParsePartition reads the form of String.
func ParsePartition(s string) (Partition, error) {
	class, hour, ok := strings.Cut(s, "/")
	class, isClass := strings.CutPrefix(class, "class=")
	hour, isHour := strings.CutPrefix(hour, "hour=")
	if !ok || !isClass || !isHour {
		return Partition{}, fmt.Errorf("%q is no partition: want class=NAME/hour=2006-01-02T15", s)
	}
	var p Partition
	if number, unknown := strings.CutPrefix(class, "class_"); unknown {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return Partition{}, fmt.Errorf("partition %q: %w", s, err)
		}
		p.Class = signal.Class(n)
	} else {
		c, err := signal.ParseClass(class)
		if err != nil {
			return Partition{}, fmt.Errorf("partition %q: %w", s, err)
		}
		p.Class = c
	}
	t, err := time.Parse(hourLayout, hour)
	if err != nil {
		return Partition{}, fmt.Errorf("partition %q: the hour is not of the form %s", s, hourLayout)
	}
	p.Hour = t.Unix() / 3600
	if t.Unix() < 0 {
		p.Hour = HourOf(t.UnixNano())
	}
	return p, nil
}
