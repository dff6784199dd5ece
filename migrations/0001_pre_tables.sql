-- The tables (architecture: "Postgres is the truth"). All times are Postgres's time.
--
-- Every key begins with the presentity's 32-bit hash, so that the tables can be partitioned or distributed by it.
-- The row of presentity_state is the presentity's lock: every statement that changes a presentity's publications,
-- dialogs or deliveries takes it first, in the order (presentity_hash, presentity_uri, event).
--
-- The functions force one plan for all calls: with arrays as arguments Postgres would plan anew at each call, which
-- costs more than the call. Rows are searched by their keys only: a condition on `ended` or `expires` beside a key
-- would let the planner, which may have seen the tables empty, walk the indexes on these instead.

-- Versions begin with the time, in microseconds, so that those of a database that is made anew are not those of the
-- one before it: a Redis that outlived that one would have other states under the same versions.
CREATE SEQUENCE presentity_version;
SELECT setval('presentity_version', (extract(epoch FROM clock_timestamp()) * 1000000)::int8);

-- The event whose watchers an event shows (RFC 3857); NULL where it shows none.
CREATE FUNCTION base_event_v1(p_event text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN p_event LIKE '%.winfo' THEN left(p_event, -6) END;

-- One row for each presentity and event that has a publication or a dialog.
CREATE TABLE presentity_state (
    presentity_hash int4 NOT NULL,
    presentity_uri  text COLLATE "C" NOT NULL,
    event           text COLLATE "C" NOT NULL,
    -- From presentity_version, taken under the row's lock: rises with each change, also across a row's removal.
    version         int8 NOT NULL,
    -- Dialogs that have not ended.
    watchers        int4 NOT NULL DEFAULT 0,
    PRIMARY KEY (presentity_hash, presentity_uri, event)
) WITH (fillfactor = 70);

-- One row for each publication (RFC 3903).
CREATE TABLE presentity (
    presentity_hash int4 NOT NULL,
    -- Derived from the key of the PUBLISH that created it.
    publication_id  bytea NOT NULL,
    presentity_uri  text COLLATE "C" NOT NULL,
    username        text NOT NULL,
    domain          text NOT NULL,
    event           text COLLATE "C" NOT NULL,
    -- The entity tag is publication_id and sequence; sequence rises with each answer.
    sequence        int4 NOT NULL,
    etag            text NOT NULL,
    expires         timestamptz NOT NULL,
    received_time   timestamptz NOT NULL,
    content_type    text NOT NULL,
    body            bytea NOT NULL,
    sender          text,
    -- The presentity's version when this body came.
    version         int8 NOT NULL,
    -- Key and answer of the last request, so that its copies get the same answer.
    last_key        bytea NOT NULL,
    granted         int4 NOT NULL,
    -- The one call that this publication is about, the leg of it (NULL: any), and whether it says that it is over; NULL
    -- where it is about several calls, or none.
    call_key        text,
    call_leg        text,
    call_over       bool NOT NULL DEFAULT false,
    -- Removed or expired: a tombstone, kept so that late copies revive nothing.
    ended           timestamptz,
    PRIMARY KEY (presentity_hash, publication_id)
) WITH (fillfactor = 70);
CREATE INDEX presentity_expires ON presentity (expires) WHERE ended IS NULL;
CREATE INDEX presentity_ended ON presentity (ended) WHERE ended IS NOT NULL;

-- One row for each subscription dialog (RFC 6665): what changes only with a SUBSCRIBE.
CREATE TABLE active_watchers (
    presentity_hash  int4 NOT NULL,
    -- Derived from the key of the SUBSCRIBE that created it; the To-tag carries it.
    dialog_id        bytea NOT NULL,
    presentity_uri   text COLLATE "C" NOT NULL,
    event            text COLLATE "C" NOT NULL,
    event_id         text NOT NULL,
    watcher_username text NOT NULL,
    watcher_domain   text NOT NULL,
    callid           text NOT NULL,
    to_tag           text NOT NULL,
    from_tag         text NOT NULL,
    -- To and From of the SUBSCRIBE without their tags: our side and the watcher's side of the dialog.
    to_uri           text NOT NULL,
    from_uri         text NOT NULL,
    remote_cseq      int4 NOT NULL,
    contact          text NOT NULL,
    record_route     text NOT NULL,
    local_contact    text NOT NULL,
    accept           text NOT NULL,
    user_agent       text NOT NULL,
    sip_instance     text NOT NULL,
    -- Of one that waits: when it is given up.
    expires          timestamptz NOT NULL,
    -- 1 active, 2 pending, 3 terminated, 4 waiting
    status           int2 NOT NULL,
    reason           text NOT NULL,
    -- What brought it into this status, as watcher information names it: subscribe, approved, timeout ...
    status_event     text NOT NULL DEFAULT 'subscribe',
    -- From presentity_version, under the presentity's lock, at each change that watcher information shows. 0: none.
    changed          int8 NOT NULL DEFAULT 0,
    -- The flow of the last SUBSCRIBE: the edge that has it, and transport|host|port|connection there.
    edge_instance    text NOT NULL,
    edge_address     text NOT NULL,
    socket_info      text NOT NULL,
    -- Rises with each SUBSCRIBE; cached copies of this row are valid for one revision.
    revision         int4 NOT NULL,
    last_key         bytea NOT NULL,
    granted          int4 NOT NULL,
    created          timestamptz NOT NULL,
    ended            timestamptz,
    PRIMARY KEY (presentity_hash, dialog_id)
) WITH (fillfactor = 70);
CREATE INDEX active_watchers_expires ON active_watchers (expires) WHERE ended IS NULL;
-- The dialogs of a watcher, to count them and to find those that a new one replaces.
CREATE INDEX active_watchers_watcher ON active_watchers (watcher_username, watcher_domain, presentity_uri);
CREATE INDEX active_watchers_ended ON active_watchers (ended) WHERE ended IS NOT NULL;

-- One row for each presentity, watcher and event: what was decided about the watcher (RFC 3857 has the states).
CREATE TABLE watchers (
    presentity_hash  int4 NOT NULL,
    presentity_uri   text COLLATE "C" NOT NULL,
    watcher_username text NOT NULL,
    watcher_domain   text NOT NULL,
    event            text COLLATE "C" NOT NULL,
    -- As in active_watchers.
    status           int2 NOT NULL,
    reason           text NOT NULL,
    inserted_time    timestamptz NOT NULL,
    PRIMARY KEY (presentity_hash, presentity_uri, event, watcher_username, watcher_domain)
);

-- The hot part of a dialog: what was sent and what is outstanding. Narrow, one index, HOT updates.
CREATE TABLE delivery (
    presentity_hash      int4 NOT NULL,
    dialog_id            bytea NOT NULL,
    presentity_uri       text COLLATE "C" NOT NULL,
    event                text COLLATE "C" NOT NULL,
    status               int2 NOT NULL,
    revision             int4 NOT NULL,
    local_cseq           int4 NOT NULL,
    -- Version number of documents that count them (watcherinfo, dialog-info): one for each NOTIFY of this dialog.
    version              int4 NOT NULL,
    -- The presentity's version that the last NOTIFY carried; 0: a NOTIFY is owed whatever the version.
    sent_version         int8 NOT NULL,
    -- Watcher information: what of the watchers' `changed` the last NOTIFY showed, and what is known to have arrived.
    shown_version        int8 NOT NULL DEFAULT 0,
    acked_version        int8 NOT NULL DEFAULT 0,
    -- Digest of the document that the watcher acknowledged last; NULL where it may have seen another one since, so
    -- always while a NOTIFY is outstanding.
    acked_digest         bytea,
    -- NOTIFYs in a row that got no answer (end_sub_on_timeout=0).
    failures             int2 NOT NULL DEFAULT 0,
    -- The NOTIFY that is under way: its CSeq, who claimed it, until when its outcome is awaited.
    outstanding_cseq     int4,
    outstanding_notifier text,
    outstanding_until    timestamptz,
    -- Retry-After of the watcher, or the pause after its silence.
    not_before           timestamptz,
    -- The edge instance that has the flow; NULL: the edge is gone and nobody else can reach the watcher.
    edge_instance        text,
    transport            text NOT NULL,
    PRIMARY KEY (presentity_hash, dialog_id)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

-- The outbox: which presentity (or which one dialog of it) may owe a NOTIFY.
CREATE TABLE change_event (
    presentity_hash int4 NOT NULL,
    id              int8 GENERATED ALWAYS AS IDENTITY,
    presentity_uri  text COLLATE "C" NOT NULL,
    event           text COLLATE "C" NOT NULL,
    dialog_id       bytea,
    due             timestamptz NOT NULL,
    -- The presentity's version has yet to rise: whoever changed the watchers did not hold this row's lock.
    bump            bool NOT NULL DEFAULT false,
    -- Where the dialogs are in Redis: those of the sender, who is not told, as they were before the change (id:CSeq,
    -- separated by blanks; CSeq -1: something was on its way), and the versions before and after.
    sender          text,
    sender_before   int8,
    sender_after    int8,
    PRIMARY KEY (presentity_hash, id)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX change_event_due ON change_event (due, id);

-- Every process of every service: who is there, for people and for other processes.
CREATE TABLE replica (
    instance text PRIMARY KEY,
    service  text NOT NULL,
    address  text NOT NULL,
    version  text NOT NULL,
    pid      int4 NOT NULL,
    host     text NOT NULL,
    started  timestamptz NOT NULL,
    seen     timestamptz NOT NULL,
    ready    bool NOT NULL
) WITH (fillfactor = 50);

-- Secrets that all replicas share and that only processes with the database need.
CREATE TABLE secret (
    name    text NOT NULL,
    value   bytea NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, created)
);

-- Who may prove to be whom (digest): the HA1 of each algorithm, never a password. The domain is the realm, in lower
-- case. Names of columns as OpenSIPS has them.
CREATE TABLE subscriber (
    username       text COLLATE "C" NOT NULL CHECK (username <> '' AND length(username) <= 255),
    domain         text COLLATE "C" NOT NULL CHECK (domain <> '' AND length(domain) <= 255),
    -- MD5, SHA-256, SHA-512-256
    ha1            text NOT NULL CHECK (ha1 ~ '^[0-9a-f]{32}$'),
    ha1_sha256     text NOT NULL CHECK (ha1_sha256 ~ '^[0-9a-f]{64}$'),
    ha1_sha512t256 text NOT NULL CHECK (ha1_sha512t256 ~ '^[0-9a-f]{64}$'),
    changed        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (domain, username)
);
