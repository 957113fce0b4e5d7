-- The packages that assets have, as the last scan of each found them. key is the package URL without version and
-- qualifiers, as the caller normalises it; search is the name in lower case. They go with their asset.

-- +goose Up
CREATE TABLE packages (
    asset     TEXT COLLATE "C" NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    seq       BIGINT  NOT NULL, -- within the asset
    key       TEXT COLLATE "C" NOT NULL,
    search    TEXT COLLATE "C" NOT NULL,
    purl      TEXT COLLATE "C" NOT NULL,
    ecosystem TEXT COLLATE "C" NOT NULL,
    name      TEXT COLLATE "C" NOT NULL,
    version   TEXT COLLATE "C" NOT NULL,
    path      TEXT COLLATE "C" NOT NULL,
    line      BIGINT  NOT NULL,
    relation  TEXT COLLATE "C" NOT NULL,
    dev       BIGINT  NOT NULL,
    licenses  TEXT COLLATE "C" NOT NULL, -- one a line
    layer     TEXT COLLATE "C" NOT NULL,
    scanned   BIGINT  NOT NULL, -- nanoseconds since the Unix epoch
    PRIMARY KEY (asset, seq)
);
CREATE INDEX packages_key ON packages (key, asset, seq);

-- +goose Down
DROP TABLE packages;
