package linuxabi

import (
	"strconv"
	"strings"
)

func at(list []string, v uint64, prefix string) string {
	if v < uint64(len(list)) && list[v] != "" {
		return prefix + list[v]
	}
	return strconv.FormatUint(v, 10)
}

func split(s string) []string { return strings.Split(s, " ") }

// Signal returns the name of a signal: "SIGKILL"; its number where it has none.
func Signal(v uint64) string {
	return at(split("0 HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"), v&0xffffffff, "SIG")
}

// Ptrace returns the name of a request of ptrace(2): "PTRACE_ATTACH".
func Ptrace(v uint64) string {
	if v >= 0x4200 {
		if list := split("SETOPTIONS GETEVENTMSG GETSIGINFO SETSIGINFO GETREGSET SETREGSET SEIZE INTERRUPT LISTEN PEEKSIGINFO GETSIGMASK SETSIGMASK SECCOMP_GET_FILTER SECCOMP_GET_METADATA GET_SYSCALL_INFO"); v-0x4200 < uint64(len(list)) {
			return "PTRACE_" + list[v-0x4200]
		}
	}
	names := map[uint64]string{0: "TRACEME", 1: "PEEKTEXT", 2: "PEEKDATA", 3: "PEEKUSR", 4: "POKETEXT", 5: "POKEDATA", 6: "POKEUSR", 7: "CONT", 8: "KILL",
		9: "SINGLESTEP", 12: "GETREGS", 13: "SETREGS", 14: "GETFPREGS", 15: "SETFPREGS", 16: "ATTACH", 17: "DETACH", 18: "GETFPXREGS", 19: "SETFPXREGS",
		21: "OLDSETOPTIONS", 24: "SYSCALL", 25: "GET_THREAD_AREA", 26: "SET_THREAD_AREA", 30: "ARCH_PRCTL", 31: "SYSEMU", 32: "SYSEMU_SINGLESTEP", 33: "SINGLEBLOCK"}
	if n := names[v]; n != "" {
		return "PTRACE_" + n
	}
	return strconv.FormatUint(v, 10)
}

// PtraceInjects reports whether a request takes hold of another process, or writes into it.
func PtraceInjects(v uint64) bool {
	switch v {
	case 4, 5, 6, 13, 15, 16, 0x4205, 0x4206: // POKE..., SETREGS, SETFPREGS, ATTACH, SETREGSET, SEIZE
		return true
	}
	return false
}

// BPFCommand returns the name of a command of bpf(2): "BPF_PROG_LOAD".
func BPFCommand(v uint64) string {
	return at(split("MAP_CREATE MAP_LOOKUP_ELEM MAP_UPDATE_ELEM MAP_DELETE_ELEM MAP_GET_NEXT_KEY PROG_LOAD OBJ_PIN OBJ_GET PROG_ATTACH PROG_DETACH PROG_TEST_RUN PROG_GET_NEXT_ID MAP_GET_NEXT_ID PROG_GET_FD_BY_ID MAP_GET_FD_BY_ID OBJ_GET_INFO_BY_FD PROG_QUERY RAW_TRACEPOINT_OPEN BTF_LOAD BTF_GET_FD_BY_ID TASK_FD_QUERY MAP_LOOKUP_AND_DELETE_ELEM MAP_FREEZE BTF_GET_NEXT_ID MAP_LOOKUP_BATCH MAP_LOOKUP_AND_DELETE_BATCH MAP_UPDATE_BATCH MAP_DELETE_BATCH LINK_CREATE LINK_UPDATE LINK_GET_FD_BY_ID LINK_GET_NEXT_ID ENABLE_STATS ITER_CREATE LINK_DETACH PROG_BIND_MAP TOKEN_CREATE"), v&0xffffffff, "BPF_")
}

// Domain returns the name of a family of sockets: "AF_PACKET".
func Domain(v uint64) string {
	return at(split("UNSPEC UNIX INET AX25 IPX APPLETALK NETROM BRIDGE ATMPVC X25 INET6 ROSE DECnet NETBEUI SECURITY KEY NETLINK PACKET ASH ECONET ATMSVC RDS SNA IRDA PPPOX WANPIPE LLC IB MPLS CAN TIPC BLUETOOTH IUCV RXRPC ISDN PHONET IEEE802154 CAIF ALG NFC VSOCK KCM QIPCRTR SMC XDP MCTP"), v&0xffff, "AF_")
}

// SocketType returns the name of a type of sockets: "SOCK_RAW".
func SocketType(v uint64) string {
	return at(split("0 STREAM DGRAM RAW RDM SEQPACKET DCCP 7 8 9 PACKET"), v&0xf, "SOCK_")
}

// KeyctlCommand returns the name of a command of keyctl(2).
func KeyctlCommand(v uint64) string {
	return at(split("GET_KEYRING_ID JOIN_SESSION_KEYRING UPDATE REVOKE CHOWN SETPERM DESCRIBE CLEAR LINK UNLINK SEARCH READ INSTANTIATE NEGATE SET_REQKEY_KEYRING SET_TIMEOUT ASSUME_AUTHORITY GET_SECURITY SESSION_TO_PARENT REJECT INSTANTIATE_IOV INVALIDATE GET_PERSISTENT DH_COMPUTE PKEY_QUERY PKEY_ENCRYPT PKEY_DECRYPT PKEY_SIGN PKEY_VERIFY RESTRICT_KEYRING MOVE CAPABILITIES WATCH_KEY"), v&0xffffffff, "KEYCTL_")
}

// PrctlOption returns the name of the options of prctl(2) that matter for security, else the number.
func PrctlOption(v uint64) string {
	names := map[uint64]string{1: "PR_SET_PDEATHSIG", 4: "PR_SET_DUMPABLE", 8: "PR_SET_KEEPCAPS", 15: "PR_SET_NAME", 16: "PR_GET_NAME", 22: "PR_SET_SECCOMP",
		23: "PR_CAPBSET_READ", 24: "PR_CAPBSET_DROP", 28: "PR_SET_SECUREBITS", 35: "PR_SET_MM", 36: "PR_SET_CHILD_SUBREAPER", 38: "PR_SET_NO_NEW_PRIVS",
		47: "PR_CAP_AMBIENT", 0x59616d61: "PR_SET_PTRACER"}
	if n := names[v&0xffffffff]; n != "" {
		return n
	}
	return strconv.FormatUint(v&0xffffffff, 10)
}

// Protocol returns how Falco names an IANA protocol number: tcp, udp, icmp, raw.
func Protocol(v uint8) string {
	switch v {
	case 0:
		return ""
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 1, 58:
		return "icmp"
	}
	return "raw"
}

var capabilities = split("CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE")

// Capabilities returns the names of a set of capabilities, joined by spaces: "CAP_KILL CAP_SYS_ADMIN"; "" for none.
func Capabilities(v uint64) string {
	var b []byte
	for i := range 64 {
		if v>>i&1 == 0 {
			continue
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		if i < len(capabilities) {
			b = append(b, "CAP_"+capabilities[i]...)
		} else {
			b = strconv.AppendInt(append(b, "CAP_"...), int64(i), 10)
		}
	}
	return string(b)
}

// Terminal returns the name of a device number (major<<20 | minor) as of /dev: "tty1", "pts/3"; "" for 0.
func Terminal(device uint32) string {
	major, minor := device>>20, device&0xfffff
	n := strconv.FormatUint(uint64(minor), 10)
	switch {
	case device == 0:
		return ""
	case major == 4 && minor < 64:
		return "tty" + n
	case major == 4:
		return "ttyS" + strconv.FormatUint(uint64(minor-64), 10)
	case major >= 136 && major < 144:
		return "pts/" + strconv.FormatUint(uint64(major-136)<<20|uint64(minor), 10)
	case major == 5 && minor == 1:
		return "console"
	case major == 229:
		return "hvc" + n
	}
	return strconv.FormatUint(uint64(major), 10) + ":" + n
}
