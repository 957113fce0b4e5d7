package record

import "net/netip"

// Append adds the record to b in the form that [Decode] reads, and returns the longer slice. Texts that are too long are cut, and
// the record is flagged so. It changes nothing of r.
func (r *Record) Append(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, HeaderSize)...)
	flags := r.Flags
	add := func(tag uint16, value []byte, limit int) {
		if len(value) == 0 {
			return
		}
		if limit = min(limit, MaxSize-(len(b)-at)-4-256); len(value) > limit { // 256: what the fixed parts behind it may need
			value, flags = value[:max(limit, 0)], flags|FlagTruncated
		}
		b = order.AppendUint16(b, tag)
		b = order.AppendUint16(b, uint16(len(value)))
		b = append(b, value...)
	}
	if r.HasInode {
		b = appendFixed(b, tagInode, inodeSize)
		p, i := b[len(b)-inodeSize:], &r.Inode
		order.PutUint64(p, i.Device)
		order.PutUint64(p[8:], i.Number)
		order.PutUint64(p[16:], uint64(i.Size))
		order.PutUint64(p[24:], uint64(i.Modified))
		order.PutUint64(p[32:], uint64(i.Changed))
		put32(p[40:], i.Mode, i.UID, i.GID, i.Links, i.FilesystemID)
	}
	if r.HasCreds {
		b = appendFixed(b, tagCreds, credsSize)
		p, c := b[len(b)-credsSize:], &r.Creds
		put32(p, c.UID, c.EUID, c.SUID, c.FSUID, c.GID, c.EGID, c.SGID, c.FSGID)
		order.PutUint64(p[32:], c.Permitted)
		order.PutUint64(p[40:], c.Effective)
		order.PutUint64(p[48:], c.Inheritable)
		order.PutUint64(p[56:], c.Bounding)
		put32(p[64:], c.Session, c.Group, c.VPID, c.VTID, c.TTY)
	}
	if r.HasStdio {
		b = appendFixed(b, tagStdio, stdioSize)
		p := b[len(b)-stdioSize:]
		for i, s := range r.Stdio {
			put32(p[16*i:], s.Type)
			order.PutUint64(p[16*i+8:], s.Inode)
		}
	}
	if r.HasNet {
		b = appendFixed(b, tagNet, netSize)
		putNet(b[len(b)-netSize:], &r.Net)
	}
	if r.HasPeer {
		b = appendFixed(b, tagPeer, netSize)
		putNet(b[len(b)-netSize:], &r.Peer)
	}
	if r.HasRange {
		b = appendFixed(b, tagRange, rangeSize)
		p := b[len(b)-rangeSize:]
		order.PutUint64(p, r.Range.From)
		order.PutUint64(p[8:], r.Range.To)
	}
	if n := min(r.NumLen, len(r.Nums)); n > 0 {
		b = appendFixed(b, tagNums, 8*n)
		for i := range n {
			order.PutUint64(b[len(b)-8*(n-i):], r.Nums[i])
		}
	}
	add(tagPath, r.Path, MaxPath)
	add(tagPath2, r.Path2, MaxPath)
	add(tagName, r.Name, MaxPath)
	add(tagCwd, r.Cwd, MaxPath)
	add(tagArgs, r.Args, MaxText)
	add(tagEnv, r.Env, MaxText)
	add(tagData, r.Data, MaxText)

	h := b[at:]
	order.PutUint32(h, uint32(len(h)))
	order.PutUint16(h[4:], uint16(r.Kind))
	order.PutUint16(h[6:], uint16(r.Call))
	for i, v := range [...]uint64{r.Time, r.Start, r.Cgroup, r.Token, uint64(r.Ret)} {
		order.PutUint64(h[8+8*i:], v)
	}
	put32(h[48:], r.PID, r.TID, r.PPID, r.UID, r.GID, r.LoginUID, r.MntNS, r.PIDNS, uint32(flags))
	copy(h[88:HeaderSize], r.Comm)
	return b
}

func appendFixed(b []byte, tag uint16, size int) []byte {
	b = order.AppendUint16(b, tag)
	b = order.AppendUint16(b, uint16(size))
	return append(b, make([]byte, size)...)
}

func put32(b []byte, values ...uint32) {
	for i, v := range values {
		order.PutUint32(b[4*i:], v)
	}
}

func putNet(b []byte, n *Net) {
	family := n.Family
	if a := n.Local.Addr(); family == 0 && a.IsValid() {
		family = familyInet6
		if a.Unmap().Is4() && n.Remote.Addr().Unmap().Is4() == n.Remote.IsValid() {
			family = familyInet
		}
	}
	b[0], b[1] = family, n.Protocol
	put32(b[4:], uint32(n.FD), n.NetNS)
	for i, v := range [...]uint64{n.Cookie, n.BytesIn, n.BytesOut, n.PacketsIn, n.PacketsOut, n.Began} {
		order.PutUint64(b[16+8*i:], v)
	}
	end := func(address, port []byte, e netip.AddrPort, bit byte) {
		if !e.IsValid() {
			return
		}
		b[2] |= bit
		if a := e.Addr().Unmap(); family == familyInet && a.Is4() {
			four := a.As4()
			copy(address, four[:])
		} else {
			sixteen := a.As16()
			copy(address, sixteen[:])
		}
		order.PutUint16(port, e.Port())
	}
	end(b[64:80], b[96:98], n.Local, 1)
	end(b[80:96], b[98:100], n.Remote, 2)
}
