-- What the Overview and the Rules page draw, and the row that the health check writes.

-- +goose Up
CREATE TABLE minute_counts (
    series TEXT COLLATE "C" NOT NULL,
    minute BIGINT  NOT NULL, -- minutes since the Unix epoch
    count  BIGINT  NOT NULL,
    PRIMARY KEY (series, minute)
);
CREATE INDEX minute_counts_minute ON minute_counts (minute);

CREATE TABLE rule_hits (
    rule  TEXT COLLATE "C" NOT NULL,
    hour  BIGINT  NOT NULL, -- hours since the Unix epoch
    count BIGINT  NOT NULL,
    last  BIGINT  NOT NULL, -- nanoseconds since the Unix epoch
    PRIMARY KEY (rule, hour)
);
CREATE INDEX rule_hits_hour ON rule_hits (hour);

CREATE TABLE health (
    one BIGINT  NOT NULL PRIMARY KEY CHECK (one = 1),
    at  BIGINT  NOT NULL
);
INSERT INTO health (one, at) VALUES (1, 0);

-- +goose Down
DROP TABLE health;
DROP TABLE rule_hits;
DROP TABLE minute_counts;
