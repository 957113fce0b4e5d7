// Package habit learns what is normal for each parameter of each endpoint, and says how a request differs from that.
//
// Of a parameter (of the query, the path, a form, or a place in a JSON body) it learns how long its values are, which characters they have, what they
// look like (a number, a UUID, a date, a word, a text), the script or language of texts, whether it is always there, and whether it comes more than once.
// Values are not kept: only counts.
//
// No single client can shift a norm. Counts are kept apart in 16 slots, a client is always in the same one, and something is normal when the slots of
// several others vouch for it: a slot does so where at least one value in 200 of it had that. A client's own slot never speaks for its requests.
// Several clients, over time, can shift it: that is what norms are for, and Shifts tells of it.
//
// Nor can it take the room of others: of one endpoint, one slot may name a quarter of the parameters that are kept before another names them too.
//
// Learning is counting, so that the same requests in any order give the same norm, exactly, as long as nothing is dropped and no slot of a parameter has counted 60,000 values. Then its counts
// are halved, and what is near the one in 200 depends on the order.
//
// Every table is bounded, and what is dropped is counted (Stats). The package knows nothing of package edge: edge/api hands it Observations.
package habit
