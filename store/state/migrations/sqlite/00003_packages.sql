-- The packages that assets have, as the last scan of each found them. key is the package URL without version and
-- qualifiers, as the caller normalises it; search is the name in lower case. They go with their asset.

-- +goose Up
CREATE TABLE packages (
    asset     TEXT    NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    seq       INTEGER NOT NULL, -- within the asset
    key       TEXT    NOT NULL,
    search    TEXT    NOT NULL,
    purl      TEXT    NOT NULL,
    ecosystem TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    version   TEXT    NOT NULL,
    path      TEXT    NOT NULL,
    line      INTEGER NOT NULL,
    relation  TEXT    NOT NULL,
    dev       INTEGER NOT NULL,
    licenses  TEXT    NOT NULL, -- one a line
    layer     TEXT    NOT NULL,
    scanned   INTEGER NOT NULL, -- nanoseconds since the Unix epoch
    PRIMARY KEY (asset, seq)
) STRICT;
CREATE INDEX packages_key ON packages (key, asset, seq);

-- +goose Down
DROP TABLE packages;
