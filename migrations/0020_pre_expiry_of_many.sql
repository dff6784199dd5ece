-- Expiry of many at once: what a row costs does not rise with the batch any more.

-- End publications and dialogs whose time is over. As expire_batch_v1; what is over is carried along with the row that
-- locks it, so that no two lists are compared row by row.
--
-- In    how many of each at most; how long a dialog waits; whether Redis has the dialogs (`fallback2db=0`), where they
--       end, too; whether presence shows calls, so that what changes `dialog` changes `presence`, too
-- Out   what ended: 'publication' with the presentity's new version and its other publications that are alive, or
--       'dialog' with the dialog's new revision
-- Locks as expire_batch_v1
CREATE FUNCTION expire_batch_v2(p_limit int4, p_waiting interval, p_dialogs_elsewhere bool, p_mixes bool)
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
    v_p_version int8[];
    v_p_mixed int8[];
    v_d_hash int4[];
    v_d_id bytea[];
    v_d_uri text[];
    v_d_event text[];
    v_m_hash int4[];
    v_m_uri text[];
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

    -- From now on the lists have only what is of presentities that nobody else holds.
    WITH wanted AS (
        SELECT k.hash, k.uri, k.event, array_agg(k.publication) FILTER (WHERE k.publication IS NOT NULL) AS publications,
            array_agg(k.dialog) FILTER (WHERE k.dialog IS NOT NULL) AS dialogs
        FROM (
            SELECT p.hash, p.uri, p.event, p.id AS publication, NULL::bytea AS dialog
            FROM unnest(v_p_hash, v_p_uri, v_p_event, v_p_id) AS p (hash, uri, event, id)
            UNION ALL
            SELECT w.hash, w.uri, w.event, NULL, w.id
            FROM unnest(v_d_hash, v_d_uri, v_d_event, v_d_id) AS w (hash, uri, event, id)
            UNION ALL
            SELECT m.hash, m.uri, 'presence', NULL, NULL FROM unnest(v_m_hash, v_m_uri) AS m (hash, uri)
        ) AS k
        GROUP BY k.hash, k.uri, k.event
    ),
    held AS (
        SELECT s.presentity_hash, s.presentity_uri, s.event, w.publications, w.dialogs
        FROM wanted AS w
        JOIN presentity_state AS s
            ON s.presentity_hash = w.hash AND s.presentity_uri = w.uri AND s.event = w.event
        ORDER BY s.presentity_hash, s.presentity_uri, s.event
        FOR NO KEY UPDATE OF s SKIP LOCKED
    ),
    numbered AS (
        SELECT h.*, nextval('presentity_version') AS version FROM held AS h
    ),
    -- The publications of calls go with the new version of the presence that they are mixed into.
    paired AS MATERIALIZED (
        SELECT n.*, p_mixes AND n.event = 'dialog' AS mixes,
            max(n.version) FILTER (WHERE n.event = 'presence')
                OVER (PARTITION BY n.presentity_hash, n.presentity_uri) AS presence_version
        FROM numbered AS n
    ),
    publications AS (
        SELECT array_agg(n.presentity_hash) AS hashes, array_agg(p.id) AS ids, array_agg(n.presentity_uri) AS uris,
            array_agg(n.event) AS events, array_agg(n.version) AS versions,
            array_agg(CASE WHEN n.mixes THEN n.presence_version END) AS mixed
        FROM paired AS n
        CROSS JOIN LATERAL unnest(n.publications) AS p (id)
        WHERE NOT n.mixes OR n.presence_version IS NOT NULL
    ),
    dialogs AS (
        SELECT array_agg(n.presentity_hash) AS hashes, array_agg(d.id) AS ids
        FROM paired AS n
        CROSS JOIN LATERAL unnest(n.dialogs) AS d (id)
    )
    SELECT p.hashes, p.ids, p.uris, p.events, p.versions, p.mixed, d.hashes, d.ids
    INTO v_p_hash, v_p_id, v_p_uri, v_p_event, v_p_version, v_p_mixed, v_d_hash, v_d_id
    FROM publications AS p, dialogs AS d;

    RETURN QUERY
    WITH over AS MATERIALIZED (
        SELECT f.*
        FROM unnest(v_p_hash, v_p_id, v_p_uri, v_p_event, v_p_version, v_p_mixed)
            AS f (presentity_hash, publication_id, presentity_uri, event, version, mixed)
        JOIN presentity AS p ON p.presentity_hash = f.presentity_hash AND p.publication_id = f.publication_id
        WHERE p.ended IS NULL AND p.expires <= v_now
    ),
    bumped AS (
        UPDATE presentity_state AS s
        SET version = k.version
        FROM (
            SELECT o.presentity_hash, o.presentity_uri, o.event, o.version,
                array_agg(o.id) FILTER (WHERE o.id IS NOT NULL) AS ids
            FROM (
                SELECT o.presentity_hash, o.presentity_uri, o.event, o.version, o.publication_id AS id FROM over AS o
                UNION ALL
                SELECT o.presentity_hash, o.presentity_uri, 'presence', o.mixed, NULL FROM over AS o
                WHERE o.mixed IS NOT NULL
            ) AS o
            GROUP BY o.presentity_hash, o.presentity_uri, o.event, o.version
        ) AS k
        WHERE s.presentity_hash = k.presentity_hash AND s.presentity_uri = k.presentity_uri AND s.event = k.event
            AND (s.version > 0 OR p_dialogs_elsewhere)
        RETURNING s.presentity_hash, s.presentity_uri, s.event, s.version, k.ids
    ),
    ended AS (
        UPDATE presentity AS p
        SET ended = v_now, body = '', version = o.version
        FROM over AS o
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
    SELECT 'publication', t.presentity_hash, t.presentity_uri, t.event, e.id, t.version, 0, l.ids, l.versions,
        t.watched
    FROM seen AS t
    LEFT JOIN LATERAL (
        -- What is alive is told after the search: the planner must not search by time, which matches nearly all rows.
        SELECT array_agg(p.publication_id) FILTER (WHERE p.ended IS NULL AND p.expires > v_now) AS ids,
            array_agg(p.version) FILTER (WHERE p.ended IS NULL AND p.expires > v_now) AS versions
        FROM presentity AS p
        WHERE p.presentity_hash = t.presentity_hash AND p.presentity_uri = t.presentity_uri AND p.event = t.event
    ) AS l ON true
    CROSS JOIN LATERAL unnest(t.ids) AS e (id);

    RETURN QUERY
    WITH over AS MATERIALIZED (
        SELECT w.presentity_hash, w.dialog_id, w.presentity_uri, w.event, w.status,
            w.status = 2 AND p_waiting > interval '0' AS waits,
            CASE w.status WHEN 4 THEN 'giveup' ELSE 'timeout' END AS reason
        FROM unnest(v_d_hash, v_d_id) AS f (presentity_hash, dialog_id)
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
