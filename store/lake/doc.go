// Package lake keeps events in Parquet files that any engine reads: OCSF columns, nested
// as the attribute paths are, one folder per class and hour,
//
//	class=http_activity/hour=2026-11-22T10/000000000017-000000000042.parquet
//
// where the name holds the first and last batch of the bus whose events of that class and
// hour are in the file. docs/lake-format.md describes the columns.
//
// What is promised: a file appears whole, by rename, after it and its name are on disk;
// the files of a folder hold disjoint ranges; a crash at any moment leaves files that Open
// understands. A damaged or foreign file is left where it is, skipped, and named by Health.
// Nothing is deleted but what retention or a finished compaction demands.
package lake
