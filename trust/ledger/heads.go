package ledger

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A frame is a checkpoint as it stands in the heads file: origin, size, hash,
// "head NUMBER", an empty line, one signature, an empty line. The number is an
// extension line (C2SP tlog-checkpoint, "Note text"); it makes a head that was
// taken out of the file show.
const (
	frameLines  = 7
	maxHeadLine = 512
)

// sign makes the frame of a head. Ed25519 is deterministic, so the same head
// always has the same bytes.
func sign(signer note.Signer, size int64, root Hash, number uint64) (Head, []byte, error) {
	text := fmt.Sprintf("%s\n%d\n%s\nhead %d\n", signer.Name(), size, root, number)
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return Head{}, nil, fmt.Errorf("ledger: signing head %d: %w", number, err)
	}
	h := Head{Size: uint64(size), Hash: root, Number: number, Checkpoint: signed}
	return h, append(bytes.Clone(signed), '\n'), nil
}

// parseHead reads a checkpoint's text without checking its signature.
func parseHead(text, origin string) (Head, error) {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) != 5 || lines[4] != "" {
		return Head{}, errors.New("a head has four lines of text")
	}
	if lines[0] != origin+"\n" {
		return Head{}, fmt.Errorf("a head of %.100q, not of %q", strings.TrimSuffix(lines[0], "\n"), origin)
	}
	size, err := parseDecimal(strings.TrimSuffix(lines[1], "\n"))
	if err != nil || size > 1<<62 {
		return Head{}, fmt.Errorf("size %.40q", lines[1])
	}
	hash, err := tlog.ParseHash(strings.TrimSuffix(lines[2], "\n"))
	if err != nil || hash.String()+"\n" != lines[2] {
		return Head{}, fmt.Errorf("hash %.60q", lines[2])
	}
	num, ok := strings.CutPrefix(strings.TrimSuffix(lines[3], "\n"), "head ")
	number, err := parseDecimal(num)
	if !ok || err != nil {
		return Head{}, fmt.Errorf("head number %.40q", lines[3])
	}
	return Head{Size: size, Hash: hash, Number: number}, nil
}

func parseDecimal(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err == nil && strconv.FormatUint(n, 10) != s {
		return 0, strconv.ErrSyntax
	}
	return n, err
}

// openFrame checks a frame of the heads file byte by byte, with its signature
// if a verifier is given.
func openFrame(frame []byte, origin string, v note.Verifier) (Head, error) {
	text, rest, ok := strings.Cut(string(frame), "\n\n")
	if !ok {
		return Head{}, errors.New("no empty line before the signature")
	}
	text += "\n"
	h, err := parseHead(text, origin)
	if err != nil {
		return Head{}, err
	}
	h.Checkpoint = frame[:len(frame)-1]
	sig, ok := strings.CutPrefix(rest, "— "+origin+" ")
	if !ok {
		return Head{}, errors.New("the signature is not this ledger's")
	}
	sig, ok = strings.CutSuffix(sig, "\n\n")
	// Strict: a decoder that ignores the spare bits of the last character
	// would let those bits be changed unseen.
	if _, err := base64.StdEncoding.Strict().DecodeString(sig); !ok || err != nil || strings.ContainsAny(sig, "\r\n") {
		return Head{}, errors.New("malformed signature")
	}
	if v == nil {
		return h, nil
	}
	n, err := note.Open(h.Checkpoint, note.VerifierList(v))
	if err != nil {
		return Head{}, fmt.Errorf("the signature does not verify: %w", err)
	}
	if n.Text != text || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return Head{}, errors.New("not exactly one signature")
	}
	return h, nil
}

// OpenHead checks a checkpoint that was kept elsewhere against a public key
// and returns what it says. Signatures of others, such as witnesses, may stand
// below the ledger's own.
func OpenHead(checkpoint []byte, publicKey string) (Head, error) {
	v, err := note.NewVerifier(strings.TrimSpace(publicKey))
	if err != nil {
		return Head{}, fmt.Errorf("ledger: public key: %w", err)
	}
	// Copied by hand, a checkpoint may have lost or won newlines at its end.
	checkpoint = append(bytes.TrimRight(bytes.Clone(checkpoint), "\r\n \t"), '\n')
	n, err := note.Open(checkpoint, note.VerifierList(v))
	if err != nil {
		var unverified *note.UnverifiedNoteError
		if errors.As(err, &unverified) {
			return Head{}, &Damage{File: "against", What: "the head kept elsewhere is signed by another key: it is of another ledger, or this one was written anew"}
		}
		return Head{}, &Damage{File: "against", What: "the head kept elsewhere is not a signed checkpoint: " + err.Error()}
	}
	h, err := parseHead(n.Text, v.Name())
	if err != nil {
		return Head{}, &Damage{File: "against", What: "the head kept elsewhere: " + err.Error()}
	}
	h.Checkpoint = checkpoint
	return h, nil
}

// errTorn is returned with the bytes that are left when a file ends in the
// middle of a frame or a line.
var errTorn = errors.New("incomplete")

// frameReader reads the heads file frame by frame.
type frameReader struct {
	r    *bufio.Reader
	line int   // of the frame last returned, from 1
	next int   // of the frame to come
	at   int64 // bytes of the whole frames returned
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 64<<10), next: 1}
}

// read returns the next frame; io.EOF at the end; errTorn with what is left if
// the file ends inside a frame. The frame's contents are not checked.
func (f *frameReader) read() ([]byte, error) {
	f.line = f.next
	var frame []byte
	for i := range frameLines {
		l, err := readLine(f.r, maxHeadLine)
		frame = append(frame, l...)
		if err == io.EOF && len(frame) == 0 {
			return nil, io.EOF
		}
		if err == io.EOF || err == errTorn {
			return frame, errTorn
		}
		if err != nil {
			return nil, &Damage{File: headsFile, Line: f.line + i, What: err.Error()}
		}
	}
	f.next += frameLines
	f.at += int64(len(frame))
	return frame, nil
}

// readLine returns a line with its newline; io.EOF at the end; errTorn with
// the rest if the last line has no newline.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit+1 {
			return nil, fmt.Errorf("a line of more than %d bytes", limit)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(line) > 0:
			return line, errTorn
		default:
			return nil, err
		}
	}
}

func cutLine(b []byte) (line, rest []byte, ok bool) {
	return bytes.Cut(b, []byte{'\n'})
}
