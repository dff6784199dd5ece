-- Dialogs are looked for by their whole key. Where they are joined with their presentity by columns the planner may look
-- for all of its dialogs, once for each one: by the tables it has counted that is one, and in a fan-out a thousand.

-- apply_outcomes_v2, which has the rules. OFFSET 0: the search is by itself.
CREATE FUNCTION apply_outcomes_v3(
    p_hash int4[], p_dialog bytea[], p_cseq int4[], p_verdict text[], p_seconds float8[], p_reason text[],
    p_digest bytea[], p_silences int4, p_status int2[]
) RETURNS TABLE (presentity_hash int4, dialog_id bytea, revision int4, again bool)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_delivered int4;
    v_lagging_hash int4[];
    v_lagging_dialog bytea[];
BEGIN
    -- More rows than are needed, where a presentity has several events; which ones are is not known without a look at
    -- each dialog.
    PERFORM 1
    FROM presentity_state AS s
    WHERE s.presentity_hash = ANY (p_hash)
    ORDER BY s.presentity_hash, s.presentity_uri, s.event
    FOR NO KEY UPDATE OF s;

    v_now := clock_timestamp();

    -- What nearly all outcomes are, each with one look at its dialog and one at its presentity.
    WITH settled AS (
        UPDATE delivery AS d
        SET outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL,
            acked_version = d.shown_version, acked_digest = nullif(o.digest, ''), last_status = o.status,
            last_answered = v_now, failures = 0, not_before = NULL
        FROM unnest(p_hash, p_dialog, p_cseq, p_verdict, p_digest, p_status) AS o (hash, dialog, cseq, verdict, digest, status)
        WHERE o.verdict = 'delivered' AND d.presentity_hash = o.hash AND d.dialog_id = o.dialog
            AND d.outstanding_cseq = o.cseq AND d.status <> 3
        RETURNING d.presentity_hash, d.dialog_id, d.presentity_uri, d.event, d.sent_version
    ),
    delivered AS (
        SELECT d.*, d.sent_version < s.version AS lags
        FROM settled AS d
        CROSS JOIN LATERAL (
            SELECT k.version FROM presentity_state AS k
            WHERE k.presentity_hash = d.presentity_hash AND k.presentity_uri = d.presentity_uri AND k.event = d.event
            OFFSET 0
        ) AS s
    ),
    told AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT d.presentity_hash, d.presentity_uri, d.event, d.dialog_id, v_now FROM delivered AS d WHERE d.lags
    )
    SELECT count(*), array_agg(d.presentity_hash) FILTER (WHERE d.lags), array_agg(d.dialog_id) FILTER (WHERE d.lags)
    INTO v_delivered, v_lagging_hash, v_lagging_dialog
    FROM delivered AS d;
    IF v_lagging_hash IS NOT NULL THEN
        RETURN QUERY SELECT l.hash, l.dialog, 0, true FROM unnest(v_lagging_hash, v_lagging_dialog) AS l (hash, dialog);
    END IF;
    IF v_delivered = cardinality(p_hash) THEN
        RETURN;
    END IF;

    -- The others: those above have nothing outstanding any more.
    RETURN QUERY
    WITH outcome AS MATERIALIZED (
        SELECT d.presentity_hash, d.dialog_id, d.presentity_uri, d.event, o.reason, o.verdict AS found, o.status,
            CASE o.verdict WHEN 'silent' THEN o.seconds * 2 ^ d.failures ELSE o.seconds END AS seconds,
            CASE WHEN o.verdict IN ('delivered', 'unchanged') THEN nullif(o.digest, '') END AS digest,
            -- The last NOTIFY of a dialog ends it whatever became of it; one that was overtaken by an end does not. One
            -- that waits for its watcher, or that a fault of ours held up, is tried as often as a silent watcher is.
            CASE
                WHEN o.verdict = 'ended' THEN 'ended'
                WHEN d.status = 3 AND d.sent_version > 0 THEN
                    CASE
                        WHEN o.verdict IN ('again', 'unsent')
                            AND (o.seconds < 5 OR (o.seconds <= 60 AND d.failures + 1 < p_silences)) THEN 'again'
                        ELSE 'gone'
                    END
                -- A SUBSCRIBE has come meanwhile, or the end: that NOTIFY does not wait.
                WHEN o.verdict IN ('silent', 'waits') AND d.sent_version = 0 THEN 'lags'
                WHEN o.verdict = 'waits' THEN 'waits'
                WHEN o.verdict = 'silent' AND d.failures + 1 >= p_silences THEN 'ended'
                WHEN o.verdict IN ('again', 'silent', 'unsent') THEN 'again'
                WHEN d.sent_version < s.version THEN 'lags'
                ELSE 'clear'
            END AS verdict
        FROM unnest(p_hash, p_dialog, p_cseq, p_verdict, p_seconds, p_reason, p_digest, p_status)
            AS o (hash, dialog, cseq, verdict, seconds, reason, digest, status)
        CROSS JOIN LATERAL (
            SELECT * FROM delivery AS k WHERE k.presentity_hash = o.hash AND k.dialog_id = o.dialog OFFSET 0
        ) AS d
        CROSS JOIN LATERAL (
            SELECT k.version FROM presentity_state AS k
            WHERE k.presentity_hash = d.presentity_hash AND k.presentity_uri = d.presentity_uri AND k.event = d.event
            OFFSET 0
        ) AS s
        WHERE d.outstanding_cseq = o.cseq
    ),
    cleared AS (
        UPDATE delivery AS d
        SET outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL,
            local_cseq = CASE o.found WHEN 'unchanged' THEN d.local_cseq - 1 ELSE d.local_cseq END,
            version = CASE WHEN o.found IN ('unchanged', 'unsent') THEN d.version - 1 ELSE d.version END,
            sent_version = CASE WHEN o.verdict IN ('again', 'waits') THEN 0 ELSE d.sent_version END,
            edge_instance = CASE o.verdict WHEN 'waits' THEN NULL ELSE d.edge_instance END,
            acked_version = CASE o.found WHEN 'delivered' THEN d.shown_version ELSE d.acked_version END,
            acked_digest = o.digest,
            last_status = CASE WHEN o.found IN ('unchanged', 'unsent') THEN d.last_status ELSE o.status END,
            last_answered = CASE WHEN o.found IN ('unchanged', 'unsent') THEN d.last_answered ELSE v_now END,
            failures = CASE
                WHEN o.found = 'silent' OR (d.status = 3 AND d.sent_version > 0 AND o.seconds >= 5) THEN d.failures + 1
                WHEN o.found IN ('unchanged', 'unsent') THEN d.failures
                ELSE 0
            END,
            not_before = CASE o.verdict WHEN 'again' THEN v_now + make_interval(secs => o.seconds) END
        FROM outcome AS o
        WHERE d.presentity_hash = o.presentity_hash AND d.dialog_id = o.dialog_id
            AND o.verdict IN ('again', 'lags', 'clear', 'waits')
    ),
    told AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT o.presentity_hash, o.presentity_uri, o.event, o.dialog_id,
            v_now + CASE o.verdict WHEN 'again' THEN make_interval(secs => o.seconds) ELSE interval '0' END
        FROM outcome AS o
        WHERE o.verdict IN ('again', 'lags')
    ),
    removed AS (
        DELETE FROM delivery AS d
        USING outcome AS o
        WHERE d.presentity_hash = o.presentity_hash AND d.dialog_id = o.dialog_id
            AND o.verdict IN ('ended', 'gone')
    ),
    buried AS (
        UPDATE active_watchers AS w
        SET status = 3, reason = o.reason, status_event = o.reason, changed = nextval('presentity_version'),
            ended = v_now, revision = w.revision + 1
        FROM outcome AS o
        WHERE w.presentity_hash = o.presentity_hash AND w.dialog_id = o.dialog_id
            AND o.verdict = 'ended' AND w.status NOT IN (3, 4)
        RETURNING w.presentity_hash, w.dialog_id, w.revision, w.presentity_uri, w.event
    ),
    counted AS (
        UPDATE presentity_state AS s
        SET watchers = s.watchers - c.ended
        FROM (
            SELECT b.presentity_hash, b.presentity_uri, b.event, count(*) AS ended
            FROM buried AS b
            GROUP BY b.presentity_hash, b.presentity_uri, b.event
        ) AS c
        WHERE s.presentity_hash = c.presentity_hash AND s.presentity_uri = c.presentity_uri AND s.event = c.event
    ),
    -- As in subscribe_batch_v1.
    witnessed AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump)
        SELECT DISTINCT s.presentity_hash, s.presentity_uri, s.event, v_now, true
        FROM buried AS b
        JOIN presentity_state AS s ON s.presentity_hash = b.presentity_hash
            AND s.presentity_uri = b.presentity_uri AND s.event = b.event || '.winfo'
        WHERE s.watchers > 0
    )
    SELECT b.presentity_hash, b.dialog_id, b.revision, false FROM buried AS b
    UNION ALL
    SELECT o.presentity_hash, o.dialog_id, 0, true FROM outcome AS o WHERE o.verdict IN ('again', 'lags');
END
$$;

-- rehome_dialogs_v1, which has the rules.
CREATE FUNCTION rehome_dialogs_v2(p_gone text, p_instance text, p_address text, p_limit int4, p_gently bool)
RETURNS int4 LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_found delivery[];
    v_moved int4;
BEGIN
    WITH found AS (
        SELECT d.*
        -- OFFSET 0: the search is by the edge alone, whatever else is asked of the rows.
        FROM (SELECT e.* FROM delivery AS e WHERE e.edge_instance = p_gone OFFSET 0) AS d
        WHERE NOT p_gently OR (d.transport = 'udp' AND d.outstanding_cseq IS NULL)
        LIMIT p_limit
    )
    SELECT array_agg(f::delivery) INTO v_found FROM found AS f;
    IF v_found IS NULL THEN
        RETURN 0;
    END IF;

    WITH held AS MATERIALIZED (
        SELECT s.presentity_hash, s.presentity_uri, s.event
        FROM presentity_state AS s
        JOIN (SELECT DISTINCT f.presentity_hash, f.presentity_uri, f.event FROM unnest(v_found) AS f) AS k
            USING (presentity_hash, presentity_uri, event)
        ORDER BY s.presentity_hash, s.presentity_uri, s.event
        FOR NO KEY UPDATE OF s SKIP LOCKED
    ),
    free AS MATERIALIZED (
        SELECT f.presentity_hash, f.dialog_id
        FROM unnest(v_found) AS f
        JOIN held AS h USING (presentity_hash, presentity_uri, event)
    ),
    moved AS (
        UPDATE delivery AS d
        SET edge_instance = CASE d.transport WHEN 'udp' THEN p_instance END,
            revision = d.revision + 1,
            sent_version = CASE WHEN d.outstanding_cseq IS NULL THEN d.sent_version ELSE 0 END,
            outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL
        FROM free AS f
        WHERE d.presentity_hash = f.presentity_hash AND d.dialog_id = f.dialog_id AND d.edge_instance = p_gone
            AND ((d.transport = 'udp' AND p_instance IS NOT NULL) OR d.status <> 3)
            AND (NOT p_gently OR d.outstanding_cseq IS NULL)
        RETURNING d.presentity_hash, d.presentity_uri, d.event, d.dialog_id, d.edge_instance, d.revision
    ),
    -- Nobody is left to tell of the end of a dialog whose connection is gone.
    untold AS (
        DELETE FROM delivery AS d
        USING free AS f
        WHERE d.presentity_hash = f.presentity_hash AND d.dialog_id = f.dialog_id AND d.edge_instance = p_gone
            AND NOT (d.transport = 'udp' AND p_instance IS NOT NULL) AND d.status = 3
    ),
    known AS (
        UPDATE active_watchers AS w
        SET edge_instance = coalesce(m.edge_instance, ''), edge_address = coalesce(p_address, ''),
            revision = m.revision
        FROM moved AS m
        WHERE w.presentity_hash = m.presentity_hash AND w.dialog_id = m.dialog_id
    )
    INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
    SELECT m.presentity_hash, m.presentity_uri, m.event, m.dialog_id, v_now FROM moved AS m;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    RETURN v_moved;
END
$$;
