// Package sealed keeps requests as they were received, encrypted, for a short time: so that a change of the firewall can be tried on what was
// sent, and not only on what is recorded of it.
//
//	box, err := sealed.Open(dir, keyFile, sealed.DefaultConfig(), sealed.Options{})
//	go box.Run(ctx)
//	box.Keep(id, time.Hour, request)         // waits for nothing
//	r, err := sealed.NewReader(ctx, dir, keyFile, nil)
//	request, err := r.Get(id)
//
// What is promised:
//
//   - Nothing is on disk in clear. A record is sealed with XChaCha20-Poly1305 under the key of its day, with a random nonce of 24 bytes, and bound to the
//     event's id, its day and the name of its file. The key of a day is sealed in the same way under the master key.
//   - Nothing is kept for longer than was asked: files are removed when the time of their first record is over, the key of a day with its last file. A
//     node that did not run removes them at its next start; nobody opens them until then. A file that cannot be removed is tried again, and its day's key
//     does not wait for it.
//   - Who loses the key of a day cannot read that day any more; who loses the master key, nothing.
//   - The folder is bounded. The oldest files go first, and what cannot be kept is counted; one request that is larger than the bound is not kept.
//
// What is not: a record may be lost in a crash, and who has both the folder and the master key reads everything in it. A removed file is gone for its file
// system; what the disk below still holds of it is sealed under a key that is gone too.
//
// Form, all numbers big endian. DIR/2006-01-02/key is "testudo day key 1\n", a nonce and 48 sealed bytes. DIR/2006-01-02/START-SECONDS-NUMBER.sealed holds the
// records of a stretch of time from START (Unix seconds) that are kept for SECONDS: each four bytes of length of what follows, 16 bytes of the event's
// id, a nonce, and the sealed request.
package sealed
