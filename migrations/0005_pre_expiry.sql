-- End publications and dialogs whose time is over (RFC 3903 section 6, RFC 6665 section 4.2.1.4): the same effects as
-- a removal and an unsubscribe. A dialog that ends while it is pending waits for a decision and is given up when that
-- time is over, too (RFC 3857 section 4.7.1).
--
-- In    how many of each at most; how long a dialog waits; whether Redis has the dialogs (`fallback2db=0`), where they
--       end, too; whether presence shows calls, so that what changes `dialog` changes `presence`, too
-- Out   what ended: 'publication' with the presentity's new version and its other publications that are alive, or
--       'dialog' with the dialog's new revision
-- Locks presentity_state in key order (SKIP LOCKED: what is busy comes next time), then presentity, active_watchers,
--       delivery. Where calls are mixed, rows of `presence` that are missing are made before, in key order, as in
--       publish_batch_v1
CREATE FUNCTION expire_batch_v1(p_limit int4, p_waiting interval, p_dialogs_elsewhere bool, p_mixes bool)
RETURNS TABLE (
    kind text, presentity_hash int4, presentity_uri text, event text, id bytea, version int8, revision int4,
    other_ids bytea[], other_versions int8[], watched bool
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_p_hash int4[];
    v_p_id bytea[];
    v_p_uri text[];
    v_p_event text[];
    v_d_hash int4[];
    v_d_id bytea[];
    v_d_uri text[];
    v_d_event text[];
    v_m_hash int4[];
    v_m_uri text[];
    v_held presentity_state[];
BEGIN
    SELECT array_agg(p.presentity_hash), array_agg(p.publication_id), array_agg(p.presentity_uri), array_agg(p.event)
    INTO v_p_hash, v_p_id, v_p_uri, v_p_event
    FROM (SELECT p.* FROM presentity AS p WHERE p.ended IS NULL AND p.expires <= v_now
          ORDER BY p.expires LIMIT p_limit) AS p;
    SELECT array_agg(w.presentity_hash), array_agg(w.dialog_id), array_agg(w.presentity_uri), array_agg(w.event)
    INTO v_d_hash, v_d_id, v_d_uri, v_d_event
    FROM (SELECT w.* FROM active_watchers AS w WHERE w.ended IS NULL AND w.expires <= v_now
          ORDER BY w.expires LIMIT CASE WHEN p_dialogs_elsewhere THEN 0 ELSE p_limit END) AS w;
    IF v_p_hash IS NULL AND v_d_hash IS NULL THEN
        RETURN;
    END IF;

    IF p_mixes AND 'dialog' = ANY (v_p_event) THEN
        SELECT array_agg(p.hash), array_agg(p.uri)
        INTO v_m_hash, v_m_uri
        FROM (
            SELECT DISTINCT p.hash, p.uri
            FROM unnest(v_p_hash, v_p_uri, v_p_event) AS p (hash, uri, event)
            WHERE p.event = 'dialog'
        ) AS p;
        INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version)
        SELECT m.hash, m.uri, 'presence', 0
        FROM unnest(v_m_hash, v_m_uri) AS m (hash, uri)
        -- One that is there and busy would be waited for.
        WHERE NOT EXISTS (
            SELECT FROM presentity_state AS s
            WHERE s.presentity_hash = m.hash AND s.presentity_uri = m.uri AND s.event = 'presence'
        )
        ORDER BY m.hash, m.uri COLLATE "C"
        ON CONFLICT (presentity_hash, presentity_uri, event) DO NOTHING;
    END IF;

    WITH held AS (
        SELECT s.*
        FROM presentity_state AS s
        JOIN (
            SELECT p.* FROM unnest(v_p_hash, v_p_uri, v_p_event) AS p (presentity_hash, presentity_uri, event)
            UNION
            SELECT w.* FROM unnest(v_d_hash, v_d_uri, v_d_event) AS w (presentity_hash, presentity_uri, event)
            UNION
            SELECT m.hash, m.uri, 'presence' FROM unnest(v_m_hash, v_m_uri) AS m (hash, uri)
        ) AS k USING (presentity_hash, presentity_uri, event)
        ORDER BY s.presentity_hash, s.presentity_uri, s.event
        FOR NO KEY UPDATE OF s SKIP LOCKED
    )
    SELECT array_agg(h::presentity_state) INTO v_held FROM held AS h;
    IF v_held IS NULL THEN
        RETURN;
    END IF;

    RETURN QUERY
    WITH over AS MATERIALIZED (
        SELECT p.presentity_hash, p.publication_id, p.presentity_uri, p.event
        FROM unnest(v_p_hash, v_p_id, v_p_uri, v_p_event)
            AS f (presentity_hash, publication_id, presentity_uri, event)
        JOIN unnest(v_held) AS h USING (presentity_hash, presentity_uri, event)
        JOIN presentity AS p ON p.presentity_hash = f.presentity_hash AND p.publication_id = f.publication_id
        WHERE p.ended IS NULL AND p.expires <= v_now
            AND CASE WHEN p_mixes AND f.event = 'dialog' THEN EXISTS (
                SELECT FROM unnest(v_held) AS m
                WHERE m.presentity_hash = f.presentity_hash AND m.presentity_uri = f.presentity_uri
                    AND m.event = 'presence'
            ) ELSE true END
    ),
    bumped AS (
        UPDATE presentity_state AS s
        SET version = nextval('presentity_version')
        FROM (
            SELECT o.presentity_hash, o.presentity_uri, o.event FROM over AS o
            UNION
            SELECT o.presentity_hash, o.presentity_uri, 'presence' FROM over AS o WHERE p_mixes AND o.event = 'dialog'
        ) AS k
        WHERE s.presentity_hash = k.presentity_hash AND s.presentity_uri = k.presentity_uri AND s.event = k.event
            AND (s.version > 0 OR p_dialogs_elsewhere)
        RETURNING s.presentity_hash, s.presentity_uri, s.event, s.version
    ),
    ended AS (
        UPDATE presentity AS p
        SET ended = v_now, body = '', version = b.version
        FROM over AS o
        JOIN bumped AS b USING (presentity_hash, presentity_uri, event)
        WHERE p.presentity_hash = o.presentity_hash AND p.publication_id = o.publication_id
    ),
    seen AS MATERIALIZED (
        SELECT b.*, p_dialogs_elsewhere OR EXISTS (
            SELECT FROM delivery AS d
            WHERE d.presentity_hash = b.presentity_hash AND d.presentity_uri = b.presentity_uri AND d.event = b.event
        ) AS watched
        FROM bumped AS b
    ),
    told AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due)
        SELECT t.presentity_hash, t.presentity_uri, t.event, v_now FROM seen AS t WHERE t.watched
    )
    SELECT 'publication', o.presentity_hash, o.presentity_uri, o.event, o.publication_id, t.version, 0,
        l.ids, l.versions, t.watched
    FROM over AS o
    JOIN seen AS t USING (presentity_hash, presentity_uri, event)
    LEFT JOIN LATERAL (
        -- What is alive is told after the search: the planner must not search by time, which matches nearly all rows.
        SELECT array_agg(p.publication_id) FILTER (WHERE p.ended IS NULL AND p.expires > v_now) AS ids,
            array_agg(p.version) FILTER (WHERE p.ended IS NULL AND p.expires > v_now) AS versions
        FROM presentity AS p
        WHERE p.presentity_hash = o.presentity_hash AND p.presentity_uri = o.presentity_uri AND p.event = o.event
    ) AS l ON true;

    RETURN QUERY
    WITH over AS MATERIALIZED (
        SELECT w.presentity_hash, w.dialog_id, w.presentity_uri, w.event, w.status,
            w.status = 2 AND p_waiting > interval '0' AS waits,
            CASE w.status WHEN 4 THEN 'giveup' ELSE 'timeout' END AS reason
        FROM unnest(v_d_hash, v_d_id, v_d_uri, v_d_event)
            AS f (presentity_hash, dialog_id, presentity_uri, event)
        JOIN unnest(v_held) AS h USING (presentity_hash, presentity_uri, event)
        JOIN active_watchers AS w ON w.presentity_hash = f.presentity_hash AND w.dialog_id = f.dialog_id
        WHERE w.ended IS NULL AND w.expires <= v_now
    ),
    ended AS (
        UPDATE active_watchers AS w
        SET ended = CASE WHEN NOT o.waits THEN v_now END, status = CASE WHEN o.waits THEN 4 ELSE 3 END,
            expires = CASE WHEN o.waits THEN v_now + p_waiting ELSE w.expires END, reason = o.reason,
            status_event = o.reason, changed = nextval('presentity_version'), revision = w.revision + 1
        FROM over AS o
        WHERE w.presentity_hash = o.presentity_hash AND w.dialog_id = o.dialog_id
        RETURNING w.presentity_hash, w.presentity_uri, w.event, w.dialog_id, w.revision, o.waits,
            o.status = 4 AS waited
    ),
    counted AS (
        UPDATE presentity_state AS s
        SET watchers = s.watchers - c.ended
        FROM (
            SELECT e.presentity_hash, e.presentity_uri, e.event, count(*) FILTER (WHERE NOT e.waits) AS ended
            FROM ended AS e
            GROUP BY e.presentity_hash, e.presentity_uri, e.event
        ) AS c
        WHERE s.presentity_hash = c.presentity_hash AND s.presentity_uri = c.presentity_uri AND s.event = c.event
            AND c.ended > 0
    ),
    -- As in subscribe_batch_v1.
    witnessed AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump)
        SELECT DISTINCT s.presentity_hash, s.presentity_uri, s.event, v_now, true
        FROM ended AS e
        JOIN presentity_state AS s ON s.presentity_hash = e.presentity_hash
            AND s.presentity_uri = e.presentity_uri AND s.event = e.event || '.winfo'
        WHERE s.watchers > 0
    ),
    owed AS (
        UPDATE delivery AS d
        SET status = 3, sent_version = 0, revision = e.revision, not_before = NULL
        FROM ended AS e
        WHERE d.presentity_hash = e.presentity_hash AND d.dialog_id = e.dialog_id AND d.edge_instance IS NOT NULL
    ),
    -- Its connection is gone: nobody can be told.
    untold AS (
        DELETE FROM delivery AS d
        USING ended AS e
        WHERE d.presentity_hash = e.presentity_hash AND d.dialog_id = e.dialog_id AND d.edge_instance IS NULL
    ),
    told AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT e.presentity_hash, e.presentity_uri, e.event, e.dialog_id, v_now
        FROM ended AS e
        WHERE NOT e.waited
    )
    SELECT 'dialog', e.presentity_hash, e.presentity_uri, e.event, e.dialog_id, 0::int8, e.revision,
        NULL::bytea[], NULL::int8[], true
    FROM ended AS e;

    IF v_m_hash IS NOT NULL THEN
        DELETE FROM presentity_state AS s
        USING unnest(v_m_hash, v_m_uri) AS m (hash, uri)
        WHERE s.version = 0 AND s.presentity_hash = m.hash AND s.presentity_uri = m.uri AND s.event = 'presence';
    END IF;
END
$$;

-- Remove tombstones and presentities that nothing refers to any more.
--
-- In    the age of a tombstone; how many of each at most
-- Out   how many rows were removed; call again until it is 0
-- Locks presentity_state in key order (SKIP LOCKED), then presentity, active_watchers
CREATE FUNCTION sweep_tombstones_v1(p_age interval, p_limit int4)
RETURNS int4 LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_before timestamptz := clock_timestamp() - p_age;
    v_p_hash int4[];
    v_p_id bytea[];
    v_p_uri text[];
    v_p_event text[];
    v_d_hash int4[];
    v_d_id bytea[];
    v_d_uri text[];
    v_d_event text[];
    v_held presentity_state[];
    v_removed int4;
    v_count int4;
BEGIN
    SELECT array_agg(p.presentity_hash), array_agg(p.publication_id), array_agg(p.presentity_uri), array_agg(p.event)
    INTO v_p_hash, v_p_id, v_p_uri, v_p_event
    FROM (SELECT p.* FROM presentity AS p WHERE p.ended < v_before AND p.ended IS NOT NULL LIMIT p_limit) AS p;
    SELECT array_agg(w.presentity_hash), array_agg(w.dialog_id), array_agg(w.presentity_uri), array_agg(w.event)
    INTO v_d_hash, v_d_id, v_d_uri, v_d_event
    FROM (
        SELECT w.* FROM active_watchers AS w
        WHERE w.ended < v_before AND w.ended IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM delivery AS d
                WHERE d.presentity_hash = w.presentity_hash AND d.dialog_id = w.dialog_id
            )
        LIMIT p_limit
    ) AS w;

    WITH held AS (
        SELECT s.*
        FROM presentity_state AS s
        JOIN (
            SELECT p.presentity_hash, p.presentity_uri, e.event
            FROM unnest(v_p_hash, v_p_uri, v_p_event) AS p (presentity_hash, presentity_uri, event)
            -- Calls make a row of presence where it is not known who watches (publish_batch_v1).
            CROSS JOIN LATERAL (VALUES (p.event), (CASE p.event WHEN 'dialog' THEN 'presence' END)) AS e (event)
            UNION
            SELECT w.presentity_hash, w.presentity_uri, e.event
            FROM unnest(v_d_hash, v_d_uri, v_d_event) AS w (presentity_hash, presentity_uri, event)
            CROSS JOIN LATERAL (VALUES (w.event), (base_event_v1(w.event))) AS e (event)
        ) AS k USING (presentity_hash, presentity_uri, event)
        ORDER BY s.presentity_hash, s.presentity_uri, s.event
        FOR UPDATE OF s SKIP LOCKED
    )
    SELECT array_agg(h::presentity_state) INTO v_held FROM held AS h;
    IF v_held IS NULL THEN
        RETURN 0;
    END IF;

    DELETE FROM presentity AS p
    USING unnest(v_p_hash, v_p_id, v_p_uri, v_p_event)
            AS f (presentity_hash, publication_id, presentity_uri, event)
    JOIN unnest(v_held) AS h USING (presentity_hash, presentity_uri, event)
    WHERE p.presentity_hash = f.presentity_hash AND p.publication_id = f.publication_id;
    GET DIAGNOSTICS v_removed = ROW_COUNT;

    DELETE FROM active_watchers AS w
    USING unnest(v_d_hash, v_d_id, v_d_uri, v_d_event)
            AS f (presentity_hash, dialog_id, presentity_uri, event)
    JOIN unnest(v_held) AS h USING (presentity_hash, presentity_uri, event)
    WHERE w.presentity_hash = f.presentity_hash AND w.dialog_id = f.dialog_id
        -- The last dialog takes the row of its base event along, so it stays while that one is busy.
        AND NOT EXISTS (
            SELECT FROM presentity_state AS b
            WHERE b.presentity_hash = f.presentity_hash AND b.presentity_uri = f.presentity_uri
                AND b.event = base_event_v1(f.event)
                AND NOT EXISTS (
                    SELECT FROM unnest(v_held) AS o
                    WHERE o.presentity_hash = b.presentity_hash AND o.presentity_uri = b.presentity_uri
                        AND o.event = b.event
                )
        );
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_removed := v_removed + v_count;

    DELETE FROM presentity_state AS s
    USING unnest(v_held) AS h
    WHERE s.presentity_hash = h.presentity_hash AND s.presentity_uri = h.presentity_uri AND s.event = h.event
        AND NOT EXISTS (
            SELECT FROM presentity AS p
            WHERE p.presentity_hash = s.presentity_hash AND p.presentity_uri = s.presentity_uri AND p.event = s.event
        )
        AND NOT EXISTS (
            SELECT FROM active_watchers AS w
            WHERE w.presentity_hash = s.presentity_hash AND w.presentity_uri = s.presentity_uri
                AND w.event IN (s.event, s.event || '.winfo')
        );
    RETURN v_removed;
END
$$;
