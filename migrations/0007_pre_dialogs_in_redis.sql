-- Dialogs in Redis (`fallback2db=0`, decision 0012): active_watchers and delivery are a copy, written now and then.

-- Who has the dialogs. An epoch ends when that changes; what Redis holds of an earlier one counts no more. Epochs are
-- times, in microseconds, so that a database that is made anew takes nothing for its own that Redis has of another.
CREATE TABLE dialog_keeping (
    only_row     bool PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch        int8 NOT NULL,
    -- subs_htable_size of the tables in Redis; 0: Postgres has the dialogs.
    size         int2 NOT NULL,
    -- How often Redis was filled from here.
    loads        int4 NOT NULL
);
INSERT INTO dialog_keeping (epoch, size, loads) VALUES ((extract(epoch FROM clock_timestamp()) * 1000000)::int8, 0, 0);

-- Say who has the dialogs from now on. Where Postgres takes them back, what they owe becomes change events.
--
-- In    subs_htable_size of the tables in Redis, 0 for Postgres; how far a CSeq may have gone on in Redis
-- Out   the epoch, and the size of the tables of the epoch before where this call began a new one (else NULL)
-- Locks dialog_keeping, then presentity_state in key order, then delivery
CREATE FUNCTION keep_dialogs_in_v1(p_size int4, p_margin int4)
RETURNS TABLE (epoch int8, former_size int4) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_epoch int8;
    v_size int4;
BEGIN
    SELECT k.epoch, k.size INTO v_epoch, v_size FROM dialog_keeping AS k;
    IF v_size = p_size THEN
        RETURN QUERY SELECT v_epoch, NULL::int4;
        RETURN;
    END IF;
    SELECT k.epoch, k.size INTO v_epoch, v_size FROM dialog_keeping AS k FOR UPDATE;
    IF v_size = p_size THEN
        RETURN QUERY SELECT v_epoch, NULL::int4;
        RETURN;
    END IF;
    UPDATE dialog_keeping AS k
    SET epoch = greatest(k.epoch + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8), size = p_size
    RETURNING k.epoch INTO v_epoch;
    IF p_size = 0 THEN
        PERFORM 1 FROM presentity_state AS s
        ORDER BY s.presentity_hash, s.presentity_uri, s.event
        FOR NO KEY UPDATE OF s;
        -- The numbers of changes in Redis mean nothing here: who watches the watchers gets them all.
        UPDATE delivery AS d
        SET sent_version = CASE
                WHEN d.outstanding_cseq IS NULL AND d.event NOT LIKE '%.winfo' THEN d.sent_version ELSE 0
            END,
            local_cseq = d.local_cseq + p_margin, version = d.version + p_margin,
            outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL, acked_digest = NULL;
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT d.presentity_hash, d.presentity_uri, d.event, d.dialog_id, clock_timestamp()
        FROM delivery AS d
        JOIN presentity_state AS s USING (presentity_hash, presentity_uri, event)
        WHERE d.sent_version < s.version;
    END IF;
    RETURN QUERY SELECT v_epoch, v_size;
END
$$;

-- Begin to fill buckets of the tables in Redis: raise the CSeqs over all that may have been used.
--
-- In    the epoch; the mask of the buckets; the buckets to fill; the margin
-- Out   how often Redis was filled, this time included
-- Pre   An error where another epoch has begun.
-- Locks dialog_keeping, then delivery
CREATE FUNCTION begin_loading_dialogs_v1(p_epoch int8, p_mask int4, p_buckets int4[], p_margin int4)
RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE
    v_loads int4;
BEGIN
    UPDATE dialog_keeping SET loads = loads + 1 WHERE epoch = p_epoch RETURNING loads INTO v_loads;
    IF v_loads IS NULL THEN
        RAISE 'somebody else has the dialogs now; start this process again';
    END IF;
    UPDATE delivery AS d
    SET local_cseq = d.local_cseq + p_margin, version = d.version + p_margin,
        sent_version = CASE WHEN d.outstanding_cseq IS NULL THEN d.sent_version ELSE 0 END,
        outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL, acked_digest = NULL
    WHERE (d.presentity_hash & p_mask) = ANY (p_buckets);
    RETURN v_loads;
END
$$;

-- Write dialogs as Redis has them. Only one process does so at a time, so that no older copy replaces a newer one.
--
-- In    the epoch; rows with the columns of active_watchers, ids and keys in hexadecimal, times in seconds from now, and for what
--       is still to be sent those of delivery, each with `delivery_` before its name (delivery_status NULL: nothing)
-- Pre   An error where another epoch has begun: what this one knows is old.
-- Locks dialog_keeping (shared), presentity_state in key order, then active_watchers, delivery
CREATE FUNCTION keep_dialogs_v1(p_epoch int8, p_rows jsonb) RETURNS void LANGUAGE plpgsql
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
BEGIN
    PERFORM 1 FROM dialog_keeping AS k WHERE k.epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RAISE 'somebody else has the dialogs now; start this process again';
    END IF;

    INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version)
    SELECT k.presentity_hash, k.presentity_uri, k.event, nextval('presentity_version')
    FROM (
        SELECT DISTINCT r.presentity_hash, r.presentity_uri COLLATE "C" AS presentity_uri, r.event COLLATE "C" AS event
        FROM jsonb_to_recordset(p_rows) AS r (presentity_hash int4, presentity_uri text, event text)
        ORDER BY 1, 2, 3
    ) AS k
    ON CONFLICT (presentity_hash, presentity_uri, event) DO UPDATE SET version = 0 WHERE false;

    v_now := clock_timestamp();

    INSERT INTO active_watchers AS w (presentity_hash, dialog_id, presentity_uri, event, event_id, watcher_username,
        watcher_domain, callid, to_tag, from_tag, to_uri, from_uri, remote_cseq, contact, record_route, local_contact,
        accept, user_agent, sip_instance, expires, status, reason, status_event, edge_instance, edge_address, socket_info, revision,
        last_key, granted, created, ended)
    SELECT r.presentity_hash, decode(r.dialog_id, 'hex'), r.presentity_uri, r.event, r.event_id, r.watcher_username,
        r.watcher_domain, r.callid, r.to_tag, r.from_tag, r.to_uri, r.from_uri, r.remote_cseq, r.contact,
        r.record_route, r.local_contact, r.accept, r.user_agent, r.sip_instance,
        v_now + make_interval(secs => r.expires), r.status, r.reason, r.status_event, r.edge_instance, r.edge_address,
        r.socket_info, r.revision, decode(r.last_key, 'hex'), r.granted, v_now + make_interval(secs => r.created),
        v_now + make_interval(secs => r.ended)
    FROM jsonb_to_recordset(p_rows) AS r (
        presentity_hash int4, dialog_id text, presentity_uri text, event text, event_id text, watcher_username text,
        watcher_domain text, callid text, to_tag text, from_tag text, to_uri text, from_uri text, remote_cseq int4,
        contact text, record_route text, local_contact text, accept text, user_agent text, sip_instance text,
        expires float8, status int2, reason text, status_event text, edge_instance text, edge_address text, socket_info text,
        revision int4, last_key text, granted int4, created float8, ended float8
    )
    ORDER BY r.presentity_hash, r.dialog_id
    ON CONFLICT (presentity_hash, dialog_id) DO UPDATE
    SET remote_cseq = excluded.remote_cseq, contact = excluded.contact, local_contact = excluded.local_contact,
        accept = excluded.accept, user_agent = excluded.user_agent, sip_instance = excluded.sip_instance,
        expires = excluded.expires, status = excluded.status, reason = excluded.reason,
        status_event = excluded.status_event,
        edge_instance = excluded.edge_instance, edge_address = excluded.edge_address,
        socket_info = excluded.socket_info, revision = excluded.revision, last_key = excluded.last_key,
        granted = excluded.granted, ended = excluded.ended;

    INSERT INTO delivery AS d (presentity_hash, dialog_id, presentity_uri, event, status, revision, local_cseq, version,
        sent_version, acked_version, acked_digest, failures, outstanding_cseq, outstanding_notifier, outstanding_until, not_before,
        edge_instance, transport)
    SELECT r.presentity_hash, decode(r.dialog_id, 'hex'), r.presentity_uri, r.event, r.delivery_status,
        r.delivery_revision, r.delivery_local_cseq, r.delivery_version, r.delivery_sent_version,
        -- The numbers of changes in Redis mean nothing here: the next watcher information is a full one.
        -1,
        decode(r.delivery_acked_digest, 'hex'), r.delivery_failures, r.delivery_outstanding_cseq,
        r.delivery_outstanding_notifier,
        v_now + make_interval(secs => r.delivery_outstanding_until),
        v_now + make_interval(secs => r.delivery_not_before), r.delivery_edge_instance, r.delivery_transport
    FROM jsonb_to_recordset(p_rows) AS r (
        presentity_hash int4, dialog_id text, presentity_uri text, event text, delivery_status int2,
        delivery_revision int4, delivery_local_cseq int4, delivery_version int4, delivery_sent_version int8,
        delivery_acked_digest text, delivery_failures int2, delivery_outstanding_cseq int4,
        delivery_outstanding_notifier text, delivery_outstanding_until float8,
        delivery_not_before float8, delivery_edge_instance text, delivery_transport text
    )
    WHERE r.delivery_status IS NOT NULL
    ORDER BY r.presentity_hash, r.dialog_id
    ON CONFLICT (presentity_hash, dialog_id) DO UPDATE
    SET status = excluded.status, revision = excluded.revision, local_cseq = excluded.local_cseq,
        version = excluded.version, sent_version = excluded.sent_version, acked_digest = excluded.acked_digest,
        failures = excluded.failures, outstanding_cseq = excluded.outstanding_cseq, outstanding_notifier = excluded.outstanding_notifier,
        outstanding_until = excluded.outstanding_until, not_before = excluded.not_before,
        edge_instance = excluded.edge_instance, transport = excluded.transport;

    DELETE FROM delivery AS d
    USING jsonb_to_recordset(p_rows) AS r (presentity_hash int4, dialog_id text, delivery_status int2)
    WHERE d.presentity_hash = r.presentity_hash AND d.dialog_id = decode(r.dialog_id, 'hex')
        AND r.delivery_status IS NULL;

    UPDATE presentity_state AS s
    SET watchers = (
        SELECT count(*) FILTER (WHERE w.ended IS NULL)
        FROM active_watchers AS w
        WHERE w.presentity_hash = s.presentity_hash AND w.presentity_uri = s.presentity_uri AND w.event = s.event
    )
    FROM (
        SELECT DISTINCT r.presentity_hash, r.presentity_uri, r.event
        FROM jsonb_to_recordset(p_rows) AS r (presentity_hash int4, presentity_uri text, event text)
    ) AS k
    WHERE s.presentity_hash = k.presentity_hash AND s.presentity_uri = k.presentity_uri AND s.event = k.event;
END
$$;

-- Take change events for a while, and say at which versions presentities are.
--
-- In    how many events at most; how long nobody else gets them; arrays: presentities whose version is wanted
-- Out   one row for each event, and one with no id for each presentity that was asked for: its version now; for a
--       change whose sender is not told of it, the sender's dialogs and the versions before and after
-- Pre   An event is deleted by its id once Redis knows what it means; otherwise somebody takes it again.
-- Locks change_event (SKIP LOCKED); presentity_state where a row has to be made, in key order
CREATE FUNCTION claim_changes_v1(p_events int4, p_lease interval, p_hash int4[], p_uri text[], p_event text[])
RETURNS TABLE (
    id int8, presentity_hash int4, presentity_uri text, event text, version int8, dialog_id bytea,
    sender text, sender_before int8, sender_after int8
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_events change_event[];
BEGIN
    WITH due AS MATERIALIZED (
        SELECT e.presentity_hash, e.id
        FROM change_event AS e
        WHERE e.due <= v_now
        ORDER BY e.due, e.id
        LIMIT p_events
        FOR UPDATE SKIP LOCKED
    ),
    taken AS (
        UPDATE change_event AS e
        SET due = v_now + p_lease
        FROM due AS u
        WHERE e.presentity_hash = u.presentity_hash AND e.id = u.id
        RETURNING e.*
    )
    SELECT array_agg(t::change_event ORDER BY t.id) INTO v_events FROM taken AS t;

    INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version)
    SELECT r.hash, r.uri, r.event, nextval('presentity_version')
    FROM (
        SELECT DISTINCT r.hash, r.uri COLLATE "C" AS uri, r.event COLLATE "C" AS event
        FROM (
            SELECT * FROM unnest(p_hash, p_uri, p_event)
            UNION ALL
            SELECT e.presentity_hash, e.presentity_uri, e.event FROM unnest(v_events) AS e
        ) AS r (hash, uri, event)
        ORDER BY 1, 2, 3
    ) AS r
    WHERE NOT EXISTS (
        SELECT FROM presentity_state AS s
        WHERE s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = r.event
    )
    ON CONFLICT (presentity_hash, presentity_uri, event) DO NOTHING;

    RETURN QUERY
    SELECT e.id, e.presentity_hash, e.presentity_uri, e.event, s.version, e.dialog_id, e.sender, e.sender_before,
        e.sender_after
    FROM unnest(v_events) AS e
    JOIN presentity_state AS s USING (presentity_hash, presentity_uri, event)
    UNION ALL
    SELECT NULL, s.presentity_hash, s.presentity_uri, s.event, s.version, NULL, NULL, NULL, NULL
    FROM unnest(p_hash, p_uri, p_event) AS r (hash, uri, event)
    JOIN presentity_state AS s ON s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = r.event;
END
$$;
