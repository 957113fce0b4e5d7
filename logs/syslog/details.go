package syslog

import (
	"strings"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// details reads the messages of a few programs further.
func details(m *logs.Mapper, e *signal.Event, app, text string) {
	switch app {
	case "sshd", "sshd-session":
		sshd(e, text)
	case "sudo":
		sudo(m, e, text)
	case "CRON", "crond", "cron":
		cron(e, text)
	}
}

// sshd reads "Accepted publickey for ann from 198.51.100.9 port 51122 ssh2" and "Failed password for invalid user x from ...".
func sshd(e *signal.Event, text string) {
	status := int64(2)
	rest, ok := strings.CutPrefix(text, "Failed ")
	if !ok {
		if rest, ok = strings.CutPrefix(text, "Accepted "); !ok {
			return
		}
		status = 1
	}
	method, rest, ok := strings.Cut(rest, " for ")
	if !ok {
		return
	}
	rest = strings.TrimPrefix(rest, "invalid user ")
	// A name may hold " from " itself: the last one is sshd's own.
	at := strings.LastIndex(rest, " from ")
	if at < 0 {
		return
	}
	user, from := rest[:at], rest[at+len(" from "):]
	e.Class, e.Activity = signal.ClassAuthentication, signal.ActivityLogon
	e.SetInt(signal.FieldStatusID, status)
	e.SetString(signal.FieldAuthProtocol, method)
	e.SetString(signal.FieldUserName, user)
	host, rest, _ := strings.Cut(from, " ")
	if a, ok := logs.Address(host); ok {
		e.SetIP(signal.FieldSrcEndpointIP, a)
	} else {
		e.SetString(signal.FieldSrcEndpointHostname, host)
	}
	if rest, ok := strings.CutPrefix(rest, "port "); ok {
		port, _, _ := strings.Cut(rest, " ")
		if n, ok := logs.Integer(port); ok {
			e.SetInt(signal.FieldSrcEndpointPort, n)
		}
	}
}

// sudo reads "ann : TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/usr/bin/id". What it says besides, such as "command
// not allowed", is the attribute reason.
func sudo(m *logs.Mapper, e *signal.Event, text string) {
	user, rest, ok := strings.Cut(strings.TrimLeft(text, " "), " : ")
	if !ok || !strings.Contains(rest, "COMMAND=") {
		return
	}
	e.Class, e.Activity = signal.ClassProcessActivity, signal.ActivityProcessLaunch
	e.SetString(signal.FieldActorUserName, user)
	status := int64(1)
	for rest != "" {
		part := rest
		if !strings.HasPrefix(rest, "COMMAND=") { // which is the last, and may hold anything
			part, rest, _ = strings.Cut(rest, " ; ")
		} else {
			rest = ""
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			status = 2
			m.Add("reason", part)
			continue
		}
		switch name {
		case "TTY", "PWD", "USER", "COMMAND", "GROUP", "TSID":
			m.Add(name, value)
		}
		switch name {
		case "USER":
			e.SetString(signal.FieldProcessUserName, value)
		case "COMMAND":
			e.SetString(signal.FieldProcessCmdLine, value)
		case "PWD":
			e.SetString(signal.FieldProcessWorkingDirectory, value)
		}
	}
	e.SetInt(signal.FieldStatusID, status)
}

// cron reads "(root) CMD (run-parts /etc/cron.hourly)".
func cron(e *signal.Event, text string) {
	user, command, ok := strings.Cut(text, ") CMD (")
	if !ok || !strings.HasPrefix(user, "(") {
		return
	}
	e.Class, e.Activity = signal.ClassProcessActivity, signal.ActivityProcessLaunch
	e.SetString(signal.FieldProcessUserName, user[1:])
	e.SetString(signal.FieldProcessCmdLine, strings.TrimSpace(strings.TrimSuffix(command, ")")))
}
