package kernel

import (
	"net/netip"

	"github.com/testudo-sec/testudo/internal/linuxabi"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

const (
	inbound  = 1
	outbound = 2
	familyIn = 2
	family6  = 10
	unixSock = 1
)

// network says what connection a record is about: the client is the source, the server the destination, whoever of them is here.
func (b *builder) network(e *signal.Event, v *view, kind record.Kind) {
	r := v.r
	if !r.HasNet {
		return
	}
	n := &r.Net
	direction, client, server := int64(outbound), n.Local, n.Remote
	switch {
	case kind == record.KindListen || kind == record.KindBind:
		direction, client, server = inbound, netip.AddrPort{}, n.Local
	case kind == record.KindAccept || r.Flags&record.FlagInbound != 0:
		direction, client, server = inbound, n.Remote, n.Local
	}
	if client.IsValid() {
		e.SetIP(signal.FieldSrcEndpointIP, client.Addr())
		e.SetInt(signal.FieldSrcEndpointPort, int64(client.Port()))
		if direction == inbound {
			if name, ok := b.resolved.get(resolvedKey{r.Cgroup, client.Addr()}); ok {
				e.SetString(signal.FieldSrcEndpointHostname, name)
			}
		}
	}
	if server.IsValid() {
		e.SetIP(signal.FieldDstEndpointIP, server.Addr())
		e.SetInt(signal.FieldDstEndpointPort, int64(server.Port()))
		if direction == outbound {
			if name, ok := b.resolved.get(resolvedKey{r.Cgroup, server.Addr()}); ok {
				e.SetString(signal.FieldDstEndpointHostname, name)
			}
		}
	}
	e.SetInt(signal.FieldConnectionInfoDirectionID, direction)
	if n.Protocol != 0 {
		e.SetInt(signal.FieldConnectionInfoProtocolNum, int64(n.Protocol))
		e.SetString(signal.FieldConnectionInfoProtocolName, linuxabi.Protocol(n.Protocol))
	}
	if n.Cookie != 0 {
		e.SetString(signal.FieldConnectionInfoUID, b.nums.of(int64(n.Cookie)))
	}
	if kind == record.KindFlow {
		e.SetInt(signal.FieldTrafficBytesIn, int64(n.BytesIn))
		e.SetInt(signal.FieldTrafficBytesOut, int64(n.BytesOut))
		e.SetInt(signal.FieldTrafficBytes, int64(n.BytesIn+n.BytesOut))
		e.SetInt(signal.FieldTrafficPackets, int64(n.PacketsIn+n.PacketsOut))
		if n.Began != 0 {
			e.SetTime(signal.FieldStartTime, b.table.Wall(n.Began))
			e.SetTime(signal.FieldEndTime, b.table.Wall(r.Time))
		}
	}
	if n.Family == unixSock {
		path := r.Path
		if len(path) == 0 {
			path = r.Name // as the caller passed it
		}
		if len(path) > 0 {
			setText(e, signal.FieldFilePath, b.paths.of(path))
		}
		b.set(e, attrFDType, "unix")
		b.set(e, attrFDTypeChar, "u")
		b.set(e, attrSockFamily, "unix")
	} else if n.Family == familyIn || n.Family == family6 {
		b.connected(e, r, kind)
	} else if n.Family != 0 {
		b.set(e, attrFDType, linuxabi.Domain(uint64(n.Family)))
	}
	if fd, ok := descriptor(r); ok {
		b.num(e, attrFDNum, fd)
	}
	switch r.Call {
	case record.CallSendto, record.CallSendmsg, record.CallRecvfrom, record.CallRecvmsg:
		b.num(e, attrBufLen, max(r.Ret, 0))
	}
}

// connected says whether the socket has a peer for good, and whether this call gave it one: a datagram that names its receiver
// does for itself what connect does for all that follow.
func (b *builder) connected(e *signal.Event, r *record.Record, kind record.Kind) {
	switch {
	case kind == record.KindConnect:
		b.yes(e, attrConnected, r.Ret == 0)
		b.yes(e, attrNameChanged, true)
	case kind == record.KindAccept:
		b.yes(e, attrConnected, true)
		b.yes(e, attrNameChanged, true)
	case kind == record.KindCall:
		named := r.Net.Remote.IsValid()
		if r.Call == record.CallSendto && r.NumLen > 4 {
			named = r.Nums[4] != 0
		}
		if r.Net.Protocol == 6 || r.Call == record.CallDup || r.Call == record.CallDup2 || r.Call == record.CallDup3 {
			named = false
		}
		b.yes(e, attrConnected, !named && r.Net.Remote.IsValid())
		b.yes(e, attrNameChanged, named)
	}
}
