-- What the Overview and the Rules page draw, and the row that the health check writes.

-- +goose Up
CREATE TABLE minute_counts (
    series TEXT    NOT NULL,
    minute INTEGER NOT NULL, -- minutes since the Unix epoch
    count  INTEGER NOT NULL,
    PRIMARY KEY (series, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX minute_counts_minute ON minute_counts (minute);

CREATE TABLE rule_hits (
    rule  TEXT    NOT NULL,
    hour  INTEGER NOT NULL, -- hours since the Unix epoch
    count INTEGER NOT NULL,
    last  INTEGER NOT NULL, -- nanoseconds since the Unix epoch
    PRIMARY KEY (rule, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX rule_hits_hour ON rule_hits (hour);

CREATE TABLE health (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    at  INTEGER NOT NULL
) STRICT;
INSERT INTO health (one, at) VALUES (1, 0);

-- +goose Down
DROP TABLE health;
DROP TABLE rule_hits;
DROP TABLE minute_counts;
