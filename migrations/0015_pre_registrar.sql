-- Where users are, by REGISTER (RFC 3261 section 10; `registrar=on`). Names as in OpenSIPS and Kamailio, where they serve.
--
-- One row for each binding. It is there while `expires` lies ahead; a row that was removed or has run out is kept for a
-- while, so that late copies of requests revive nothing. Whoever writes the rows of a user holds
-- pg_advisory_xact_lock(LOCK, presentity_hash) of the user, taken in the order of the hashes, before any other lock.
CREATE TABLE location (
    -- Of the address-of-record.
    presentity_hash int4 NOT NULL,
    -- Derived from the key of the REGISTER that made it.
    ruid            text COLLATE "C" NOT NULL,
    username        text COLLATE "C" NOT NULL,
    domain          text COLLATE "C" NOT NULL,
    contact         text NOT NULL,
    -- Where the REGISTER came from, as a URI, and transport:host:port that it came to.
    received        text NOT NULL DEFAULT '',
    socket          text NOT NULL DEFAULT '',
    path            text NOT NULL DEFAULT '',
    expires         timestamptz NOT NULL,
    q               real,
    callid          text NOT NULL,
    cseq            int4 NOT NULL,
    last_modified   timestamptz NOT NULL,
    flags           int4 NOT NULL DEFAULT 0,
    user_agent      text NOT NULL DEFAULT '',
    instance        text NOT NULL DEFAULT '',
    reg_id          int4 NOT NULL DEFAULT 0,
    -- The flow, as in active_watchers.
    edge_instance   text NOT NULL DEFAULT '',
    edge_address    text NOT NULL DEFAULT '',
    socket_info     text NOT NULL DEFAULT '',
    -- Key of the last request, so that its copies change nothing.
    last_key        bytea NOT NULL,
    -- The user part of the contact, where no other device has it; empty: it may.
    device          text NOT NULL DEFAULT '',
    -- Not NULL: dialogs of its device have yet to follow it, and those with this contact (empty: none).
    follows         text,
    PRIMARY KEY (presentity_hash, ruid)
) WITH (fillfactor = 70);
CREATE INDEX location_expires ON location (expires);
CREATE INDEX location_follows ON location (presentity_hash, ruid) WHERE follows IS NOT NULL;
