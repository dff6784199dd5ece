-- Have dialogs follow their clients: a NOTIFY goes where a client has registered that moved (`registrar=on`).
--
-- In    how many bindings, and dialogs, at most
-- Out   how many dialogs moved, and whether there is more to do
-- Pre   A dialog follows a binding that is new, or has another flow, of its own watcher over the same transport, where it
--       is surely of the same device, which alone knows the dialog: the same +sip.instance; or the Contact that the
--       same registration (Call-ID) had before; or, where neither names an instance, a Contact whose user part no other
--       device has. A dialog with a route set is the proxy's. One of a device with several flows (reg-id) stays where
--       its own flow is kept up.
-- Locks location, then presentity_state in key order (SKIP LOCKED: what is busy comes next time), then delivery,
--       active_watchers
CREATE FUNCTION follow_bindings_v1(p_limit int4) RETURNS TABLE (moved int4, again bool) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_bound location[];
    v_hash int4[];
    v_dialog bytea[];
    v_uri text[];
    v_event text[];
    v_place int4[];
    v_held presentity_state[];
    v_left int4[];
    v_moved int4 := 0;
BEGIN
    WITH bound AS (
        SELECT l.* FROM location AS l WHERE l.follows IS NOT NULL
        ORDER BY l.presentity_hash, l.ruid LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    )
    SELECT array_agg(b::location) INTO v_bound FROM bound AS b;
    IF v_bound IS NULL THEN
        RETURN QUERY SELECT 0, false;
        RETURN;
    END IF;

    WITH found AS (
        SELECT DISTINCT ON (w.presentity_hash, w.dialog_id)
            w.presentity_hash, w.dialog_id, w.presentity_uri, w.event, l.place
        FROM (
            SELECT b.*, split_part(b.socket_info, '|', 1) AS transport FROM unnest(v_bound) WITH ORDINALITY AS b
                (presentity_hash, ruid, username, domain, contact, received, socket, path, expires, q, callid, cseq,
                last_modified, flags, user_agent, instance, reg_id, edge_instance, edge_address, socket_info, last_key,
                device, follows, place)
        ) AS l
        JOIN active_watchers AS w ON w.watcher_username = l.username AND w.watcher_domain = l.domain
        JOIN delivery AS d ON d.presentity_hash = w.presentity_hash AND d.dialog_id = w.dialog_id
        WHERE CASE
            WHEN w.ended IS NOT NULL OR w.expires <= v_now OR w.status NOT IN (1, 2) OR d.status = 3 THEN false
            WHEN l.expires <= v_now OR w.record_route <> '' THEN false
            WHEN split_part(w.socket_info, '|', 1) <> l.transport THEN false
            WHEN w.contact = l.contact AND w.socket_info = l.socket_info
                AND (l.transport = 'udp' OR w.edge_instance = l.edge_instance) THEN false
            WHEN l.instance <> '' AND w.sip_instance = l.instance THEN NOT EXISTS (
                SELECT FROM location AS o
                WHERE o.presentity_hash = l.presentity_hash AND o.username = l.username AND o.domain = l.domain
                    AND o.expires > v_now AND o.instance = l.instance AND o.reg_id <> l.reg_id
                    AND o.socket_info = w.socket_info AND o.edge_instance = w.edge_instance
            )
            WHEN w.sip_instance NOT IN ('', l.instance) THEN false
            WHEN l.follows <> '' AND w.contact = l.follows THEN true
            WHEN l.device <> '' AND l.instance = '' AND w.sip_instance = ''
                AND substring(w.contact FROM '^[A-Za-z]+:([^@]*)@') = l.device THEN NOT EXISTS (
                -- Another device with that user part, against all expectation.
                SELECT FROM location AS o
                WHERE o.presentity_hash = l.presentity_hash AND o.username = l.username AND o.domain = l.domain
                    AND o.expires > v_now AND o.device = l.device AND o.ruid <> l.ruid
                    AND o.contact <> w.contact AND o.socket_info <> w.socket_info
            )
            ELSE false
        END
        ORDER BY w.presentity_hash, w.dialog_id, l.last_modified DESC
        LIMIT p_limit
    )
    SELECT array_agg(f.presentity_hash), array_agg(f.dialog_id), array_agg(f.presentity_uri), array_agg(f.event),
        array_agg(f.place::int4)
    INTO v_hash, v_dialog, v_uri, v_event, v_place
    FROM found AS f;

    IF v_hash IS NOT NULL THEN
        WITH held AS (
            SELECT s.*
            FROM presentity_state AS s
            JOIN (SELECT DISTINCT * FROM unnest(v_hash, v_uri, v_event) AS k (presentity_hash, presentity_uri, event)) AS k
                USING (presentity_hash, presentity_uri, event)
            ORDER BY s.presentity_hash, s.presentity_uri, s.event
            FOR NO KEY UPDATE OF s SKIP LOCKED
        )
        SELECT array_agg(h::presentity_state) INTO v_held FROM held AS h;

        WITH target AS MATERIALIZED (
            SELECT f.presentity_hash, f.dialog_id, b.contact, b.edge_instance, b.edge_address, b.socket_info
            FROM unnest(v_hash, v_dialog, v_uri, v_event, v_place)
                AS f (presentity_hash, dialog_id, presentity_uri, event, place)
            JOIN unnest(v_held) AS h USING (presentity_hash, presentity_uri, event)
            CROSS JOIN LATERAL (SELECT (v_bound[f.place]).*) AS b
        ),
        renewed AS (
            -- What was outstanding on the other flow is given up, as with a SUBSCRIBE over a new one.
            UPDATE delivery AS d
            SET revision = d.revision + 1, failures = 0, not_before = NULL, edge_instance = t.edge_instance,
                sent_version = CASE WHEN d.outstanding_cseq IS NULL AND d.edge_instance IS NOT NULL AND d.failures = 0
                    THEN d.sent_version ELSE 0 END,
                outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL
            FROM target AS t
            WHERE d.presentity_hash = t.presentity_hash AND d.dialog_id = t.dialog_id AND d.status <> 3
            RETURNING d.presentity_hash, d.presentity_uri, d.event, d.dialog_id, d.revision
        ),
        known AS (
            UPDATE active_watchers AS w
            SET contact = t.contact, edge_instance = t.edge_instance, edge_address = t.edge_address,
                socket_info = t.socket_info, revision = r.revision
            FROM renewed AS r
            JOIN target AS t USING (presentity_hash, dialog_id)
            WHERE w.presentity_hash = r.presentity_hash AND w.dialog_id = r.dialog_id
        )
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT r.presentity_hash, r.presentity_uri, r.event, r.dialog_id, v_now FROM renewed AS r;
        GET DIAGNOSTICS v_moved = ROW_COUNT;

        SELECT array_agg(DISTINCT f.place) INTO v_left
        FROM unnest(v_hash, v_uri, v_event, v_place) AS f (presentity_hash, presentity_uri, event, place)
        WHERE NOT EXISTS (
            SELECT FROM unnest(v_held) AS h
            WHERE h.presentity_hash = f.presentity_hash AND h.presentity_uri = f.presentity_uri AND h.event = f.event
        );
    END IF;

    -- While there are more dialogs than were taken, whose they are is not known.
    IF coalesce(cardinality(v_hash), 0) < p_limit THEN
        UPDATE location AS l
        SET follows = NULL
        FROM generate_subscripts(v_bound, 1) AS place
        WHERE l.presentity_hash = (v_bound[place]).presentity_hash AND l.ruid = (v_bound[place]).ruid
            AND NOT place = ANY (coalesce(v_left, '{}'));
    END IF;
    RETURN QUERY SELECT v_moved, cardinality(v_bound) >= p_limit OR cardinality(v_hash) >= p_limit;
END
$$;

-- Remove the bindings that were removed, or have run out, so long ago.
CREATE FUNCTION sweep_bindings_v1(p_age interval, p_limit int4) RETURNS int4 LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_removed int4;
BEGIN
    DELETE FROM location AS l
    USING (
        SELECT o.presentity_hash, o.ruid FROM location AS o
        WHERE o.expires < clock_timestamp() - p_age
        ORDER BY o.expires LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    ) AS k
    WHERE l.presentity_hash = k.presentity_hash AND l.ruid = k.ruid;
    GET DIAGNOSTICS v_removed = ROW_COUNT;
    RETURN v_removed;
END
$$;
