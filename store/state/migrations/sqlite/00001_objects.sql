-- Times are nanoseconds since the Unix epoch. body is the JSON of the signal type; what
-- stands in a column of its own is authoritative there.

-- +goose Up
CREATE TABLE findings (
    id         TEXT    NOT NULL PRIMARY KEY,
    kind       TEXT    NOT NULL,
    rule       TEXT    NOT NULL,
    severity   INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    plane      TEXT    NOT NULL,
    asset      TEXT    NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    changed    INTEGER NOT NULL, -- when state last changed
    search     TEXT    NOT NULL, -- what a text search looks through, in lower case
    body       TEXT    NOT NULL
) STRICT;
CREATE INDEX findings_recent ON findings (last_seen DESC, id DESC);
CREATE INDEX findings_worst ON findings (severity DESC, last_seen DESC, id DESC);
CREATE INDEX findings_state ON findings (state, severity);
CREATE INDEX findings_asset ON findings (asset, state);

CREATE TABLE finding_changes (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    finding    TEXT    NOT NULL REFERENCES findings (id) ON DELETE CASCADE,
    at         INTEGER NOT NULL,
    from_state TEXT    NOT NULL,
    to_state   TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    reason     TEXT    NOT NULL
) STRICT;
CREATE INDEX finding_changes_finding ON finding_changes (finding, seq);

CREATE TABLE actions (
    id      TEXT    NOT NULL PRIMARY KEY,
    kind    TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    started INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    search  TEXT    NOT NULL,
    body    TEXT    NOT NULL
) STRICT;
CREATE INDEX actions_recent ON actions (started DESC, id DESC);
CREATE INDEX actions_state ON actions (state, started DESC, id DESC);
CREATE INDEX actions_target ON actions (kind, target);

CREATE TABLE assets (
    id         TEXT    NOT NULL PRIMARY KEY,
    kind       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    attrs      TEXT    NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    search     TEXT    NOT NULL
) STRICT;
CREATE INDEX assets_kind ON assets (kind, id);
CREATE INDEX assets_recent ON assets (last_seen);

CREATE TABLE relations (
    source     TEXT    NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    target     TEXT    NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL,
    event      TEXT    NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (source, target, kind)
) STRICT;
CREATE INDEX relations_target ON relations (target);

CREATE TABLE docs (
    collection TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    value      BLOB    NOT NULL,
    PRIMARY KEY (collection, key)
) STRICT;

-- One row. docs is the newest version that was handed out: versions are never used
-- twice, so that a document deleted and made again is not taken for the old one.
CREATE TABLE sequences (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    docs INTEGER NOT NULL
) STRICT;
INSERT INTO sequences (one, docs) VALUES (1, 0);

-- +goose Down
DROP TABLE sequences;
DROP TABLE docs;
DROP TABLE relations;
DROP TABLE assets;
DROP TABLE actions;
DROP TABLE finding_changes;
DROP TABLE findings;
