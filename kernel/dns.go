package kernel

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// Bounds of what is read of a DNS message.
const (
	maxDNSMessage = 16 << 10
	maxAnswers    = 64
	maxDNSName    = 255
	maxBuffer     = 80 // of what a rule may see of a message
)

// resolvedKey is an address that a name was resolved to in a cgroup: what one workload asks says nothing of another's connections.
type resolvedKey struct {
	cgroup uint64
	addr   netip.Addr
}

// dnsReader reads DNS messages (RFC 1035).
type dnsReader struct{ parser dnsmessage.Parser }

const (
	activityDNSQuery    uint8 = 1
	activityDNSResponse uint8 = 2
)

// question says what a DNS message asks and answers. One that cannot be read is an event without a name.
func (b *builder) question(e *signal.Event, v *view) {
	r := v.r
	data := r.Data
	if len(data) > maxDNSMessage {
		data = data[:maxDNSMessage]
	}
	if b.wanted.is[attrBuffer] {
		b.set(e, attrBuffer, noZero(record.Text(data[:min(len(data), maxBuffer)])))
	}
	p := &b.dns.parser
	head, err := p.Start(data)
	if err != nil {
		setString(e, signal.FieldStatusDetail, "the message cannot be read")
		return
	}
	e.Activity = activityDNSQuery
	at := b.table.Wall(r.Time)
	if head.Response {
		e.Activity = activityDNSResponse
		e.SetInt(signal.FieldRcodeID, int64(head.RCode))
		e.SetString(signal.FieldRcode, rcodeName(head.RCode))
		e.SetTime(signal.FieldResponseTime, at)
	} else {
		e.SetTime(signal.FieldQueryTime, at)
	}
	q, err := p.Question()
	if err != nil {
		return
	}
	asked := b.dnsName(q.Name)
	e.SetString(signal.FieldQueryHostname, asked)
	e.SetString(signal.FieldQueryType, b.names.of([]byte(typeName(q.Type))).seen)
	e.SetString(signal.FieldQueryClass, strings.TrimPrefix(q.Class.String(), "Class"))
	if !head.Response || p.SkipAllQuestions() != nil {
		return
	}
	var values, types []string
	for len(values) < maxAnswers {
		h, err := p.AnswerHeader()
		if err != nil {
			break
		}
		value := ""
		switch h.Type {
		case dnsmessage.TypeA:
			if a, err := p.AResource(); err == nil {
				value = b.answer(r.Cgroup, netip.AddrFrom4(a.A), asked)
			}
		case dnsmessage.TypeAAAA:
			if a, err := p.AAAAResource(); err == nil {
				value = b.answer(r.Cgroup, netip.AddrFrom16(a.AAAA).Unmap(), asked)
			}
		case dnsmessage.TypeCNAME:
			if c, err := p.CNAMEResource(); err == nil {
				value = b.dnsName(c.CNAME)
			}
		case dnsmessage.TypeTXT:
			if t, err := p.TXTResource(); err == nil {
				value = noZero(record.Text([]byte(strings.Join(t.TXT, ""))))
			}
		default:
			if p.SkipAnswer() != nil { // cut in the middle
				return
			}
		}
		if value == "" && h.Type != dnsmessage.TypeTXT && (h.Type == dnsmessage.TypeA || h.Type == dnsmessage.TypeAAAA || h.Type == dnsmessage.TypeCNAME) {
			break // cut in the middle
		}
		values, types = append(values, value), append(types, typeName(h.Type))
	}
	e.SetStrings(signal.FieldAnswersRData, values)
	e.SetStrings(signal.FieldAnswersType, types)
}

func (b *builder) answer(cgroup uint64, addr netip.Addr, name string) string {
	b.resolved.put(resolvedKey{cgroup, addr}, name)
	return addr.String()
}

// dnsName returns a name without the dot behind it; bytes that are no text are escaped.
func (b *builder) dnsName(n dnsmessage.Name) string {
	raw := n.Data[:min(int(n.Length), maxDNSName)]
	if len(raw) > 1 && raw[len(raw)-1] == '.' {
		raw = raw[:len(raw)-1]
	}
	return noZero(b.names.of(raw).seen)
}

// noZero escapes zero bytes, which a name of the kernel cannot have, and one of the network can.
func noZero(s string) string { return strings.ReplaceAll(s, "\x00", `\x00`) }

func typeName(t dnsmessage.Type) string {
	if s, ok := strings.CutPrefix(t.String(), "Type"); ok {
		return s
	}
	switch t {
	case 10:
		return "NULL"
	case 64:
		return "SVCB"
	case 65:
		return "HTTPS"
	}
	return "TYPE" + t.String()
}

func rcodeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeSuccess:
		return "NOERROR"
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return "RCODE" + strings.TrimPrefix(c.String(), "RCode")
}
