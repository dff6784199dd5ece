-- How the last NOTIFY of a dialog was answered, for people.

-- The final response; 0: none came; -1: nobody was reached; -2: the connection was gone; NULL: there was none yet.
ALTER TABLE delivery ADD COLUMN last_status int2, ADD COLUMN last_answered timestamptz;

-- apply_outcomes_v1, which has the rules, and notes the answers.
--
-- In    as v1; the final responses
CREATE FUNCTION apply_outcomes_v2(
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

    -- What nearly all outcomes are, each with one look at its dialog.
    WITH delivered AS (
        UPDATE delivery AS d
        SET outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL,
            acked_version = d.shown_version, acked_digest = nullif(o.digest, ''), last_status = o.status,
            last_answered = v_now, failures = 0, not_before = NULL
        FROM unnest(p_hash, p_dialog, p_cseq, p_verdict, p_digest, p_status) AS o (hash, dialog, cseq, verdict, digest, status),
            presentity_state AS s
        WHERE o.verdict = 'delivered' AND d.presentity_hash = o.hash AND d.dialog_id = o.dialog
            AND d.outstanding_cseq = o.cseq AND d.status <> 3
            AND s.presentity_hash = d.presentity_hash AND s.presentity_uri = d.presentity_uri AND s.event = d.event
        RETURNING d.presentity_hash, d.dialog_id, d.presentity_uri, d.event, d.sent_version < s.version AS lags
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
        JOIN delivery AS d
            ON d.presentity_hash = o.hash AND d.dialog_id = o.dialog AND d.outstanding_cseq = o.cseq
        JOIN presentity_state AS s
            ON s.presentity_hash = d.presentity_hash AND s.presentity_uri = d.presentity_uri AND s.event = d.event
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

-- The same where the dialogs are in Redis: with each copy that `keep_dialogs_v1` writes.
--
-- In    rows as of `keep_dialogs_v1`, with delivery_last_status and, in seconds from now, delivery_last_answered
-- Locks delivery; only one process writes copies at a time
CREATE FUNCTION keep_last_answers_v1(p_rows jsonb) RETURNS void LANGUAGE sql AS $$
    UPDATE delivery AS d
    SET last_status = r.delivery_last_status,
        last_answered = clock_timestamp() + make_interval(secs => r.delivery_last_answered)
    FROM jsonb_to_recordset(p_rows) AS r (
        presentity_hash int4, dialog_id text, delivery_last_status int2, delivery_last_answered float8
    )
    WHERE r.delivery_last_status IS NOT NULL AND d.presentity_hash = r.presentity_hash
        AND d.dialog_id = decode(r.dialog_id, 'hex');
$$;
