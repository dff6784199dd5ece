-- Who is kept out, and until when: written by the edges, through presence-core, and by hand (decision 0022).

CREATE TABLE ban (
    -- An IPv4 address, or an IPv6 /64 as 2001:db8:1:2::/64.
    source       text COLLATE "C" NOT NULL CHECK (source <> '' AND length(source) <= 64),
    -- The user that the source may not try any more, as user@realm; empty: the source may send nothing.
    username     text COLLATE "C" NOT NULL DEFAULT '' CHECK (length(username) <= 511),
    until        timestamptz NOT NULL,
    -- How often in a row: the next ban takes twice as long.
    strikes      int4 NOT NULL DEFAULT 1,
    reason       text NOT NULL DEFAULT '' CHECK (length(reason) <= 255),
    -- Taken back by hand. Such a row stays for a while, so that every edge hears of it.
    lifted       bool NOT NULL DEFAULT false,
    changed      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, username)
);
CREATE INDEX ban_changed ON ban (changed);
CREATE INDEX ban_until ON ban (until);
