package evtx

import "strings"

// rename takes the wrapping off an attribute's name. attr is name without the indexes of arrays.
func rename(name, attr string) (string, string) {
	for _, prefix := range [...]string{"winlog.event_data.", "Event.EventData.", "EventData.", "event_data.", "winlog.user_data."} {
		if own, ok := strings.CutPrefix(name, prefix); ok {
			return own, strings.TrimPrefix(attr, prefix)
		}
	}
	if own, ok := strings.CutPrefix(name, "data.win.eventdata."); ok {
		return upper(own), upper(strings.TrimPrefix(attr, "data.win.eventdata."))
	}
	for _, prefix := range [...]string{"Event.UserData.", "UserData."} {
		if own, ok := strings.CutPrefix(name, prefix); ok {
			// One element wraps the values and names itself after the provider.
			_, in, _ := strings.Cut(own, ".")
			_, bare, _ := strings.Cut(strings.TrimPrefix(attr, prefix), ".")
			if in != "" && bare != "" {
				return in, bare
			}
			return own, strings.TrimPrefix(attr, prefix)
		}
	}
	for _, prefix := range [...]string{"Event.System.", "System.", "data.win.system."} {
		if own, ok := strings.CutPrefix(name, prefix); ok {
			own = system(own)
			return own, own
		}
	}
	if own := topLevel(name); own != "" {
		return own, own
	}
	return name, attr
}

// system names an attribute of System as Sigma does: Provider.#attributes.Name is Provider_Name.
func system(s string) string {
	s = strings.ReplaceAll(s, "_attributes.", ".")
	s = strings.ReplaceAll(s, "#attributes.", "")
	s = strings.ReplaceAll(s, "@", "")
	s = strings.TrimSuffix(s, ".#text")
	s = strings.TrimSuffix(s, ".text")
	s = upper(strings.ReplaceAll(s, ".", "_"))
	switch s {
	case "ProviderName":
		return "Provider_Name"
	case "SystemTime":
		return "TimeCreated_SystemTime"
	case "EventID_Value":
		return "EventID"
	}
	return s
}

// topLevel names what stands outside of any wrapping; "" where that is the name itself.
func topLevel(name string) string {
	switch name {
	case "winlog.event_id", "event_id", "EventId", "eventID":
		return "EventID"
	case "winlog.channel", "log_name":
		return "Channel"
	case "winlog.computer_name", "computer_name", "Hostname", "ComputerName":
		return "Computer"
	case "winlog.provider_name", "source_name", "SourceName", "ProviderName":
		return "Provider_Name"
	case "winlog.record_id", "record_number", "RecordNumber":
		return "EventRecordID"
	case "message":
		return "Message"
	}
	return ""
}

func upper(s string) string {
	if s != "" && 'a' <= s[0] && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}
