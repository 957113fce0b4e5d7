-- Times are nanoseconds since the Unix epoch. body is the JSON of the signal type; what
-- stands in a column of its own is authoritative there. Text is compared by bytes, as SQLite does.

-- +goose Up
CREATE TABLE findings (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind       TEXT COLLATE "C" NOT NULL,
    rule       TEXT COLLATE "C" NOT NULL,
    severity   BIGINT  NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    plane      TEXT COLLATE "C" NOT NULL,
    asset      TEXT COLLATE "C" NOT NULL,
    first_seen BIGINT  NOT NULL,
    last_seen  BIGINT  NOT NULL,
    count      BIGINT  NOT NULL,
    changed    BIGINT  NOT NULL, -- when state last changed
    search     TEXT COLLATE "C" NOT NULL, -- what a text search looks through, in lower case
    body       TEXT COLLATE "C" NOT NULL
);
CREATE INDEX findings_recent ON findings (last_seen DESC, id DESC);
CREATE INDEX findings_worst ON findings (severity DESC, last_seen DESC, id DESC);
CREATE INDEX findings_state ON findings (state, severity);
CREATE INDEX findings_asset ON findings (asset, state);

CREATE TABLE finding_changes (
    seq        BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    finding    TEXT COLLATE "C" NOT NULL REFERENCES findings (id) ON DELETE CASCADE,
    at         BIGINT  NOT NULL,
    from_state TEXT COLLATE "C" NOT NULL,
    to_state   TEXT COLLATE "C" NOT NULL,
    actor      TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL
);
CREATE INDEX finding_changes_finding ON finding_changes (finding, seq);

CREATE TABLE actions (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind    TEXT COLLATE "C" NOT NULL,
    target  TEXT COLLATE "C" NOT NULL,
    actor   TEXT COLLATE "C" NOT NULL,
    state   TEXT COLLATE "C" NOT NULL,
    started BIGINT  NOT NULL,
    until   BIGINT  NOT NULL,
    search  TEXT COLLATE "C" NOT NULL,
    body    TEXT COLLATE "C" NOT NULL
);
CREATE INDEX actions_recent ON actions (started DESC, id DESC);
CREATE INDEX actions_state ON actions (state, started DESC, id DESC);
CREATE INDEX actions_target ON actions (kind, target);

CREATE TABLE assets (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind       TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    attrs      TEXT COLLATE "C" NOT NULL,
    first_seen BIGINT  NOT NULL,
    last_seen  BIGINT  NOT NULL,
    search     TEXT COLLATE "C" NOT NULL
);
CREATE INDEX assets_kind ON assets (kind, id);
CREATE INDEX assets_recent ON assets (last_seen);

CREATE TABLE relations (
    source     TEXT COLLATE "C" NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    target     TEXT COLLATE "C" NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    kind       TEXT COLLATE "C" NOT NULL,
    event      TEXT COLLATE "C" NOT NULL,
    first_seen BIGINT  NOT NULL,
    last_seen  BIGINT  NOT NULL,
    PRIMARY KEY (source, target, kind)
);
CREATE INDEX relations_target ON relations (target);

CREATE TABLE docs (
    collection TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    version    BIGINT  NOT NULL,
    value      BYTEA   NOT NULL,
    PRIMARY KEY (collection, key)
);

-- One row. docs is the newest version that was handed out: versions are never used
-- twice, so that a document deleted and made again is not taken for the old one.
CREATE TABLE sequences (
    one  BIGINT  NOT NULL PRIMARY KEY CHECK (one = 1),
    docs BIGINT  NOT NULL
);
INSERT INTO sequences (one, docs) VALUES (1, 0);

-- +goose Down
DROP TABLE sequences;
DROP TABLE docs;
DROP TABLE relations;
DROP TABLE assets;
DROP TABLE actions;
DROP TABLE finding_changes;
DROP TABLE findings;
