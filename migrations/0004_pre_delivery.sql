-- Claim the NOTIFYs that are owed: events first, then their presentities' locks, then the dialogs.
--
-- In    who claims; how many events and dialogs at most; how long an outcome is awaited
-- Out   one row for each dialog that was marked: the presentity and its version, the CSeq to use, the document
--       version, the status and revision of the dialog; the version that it was sent before (0: the NOTIFY is owed
--       whatever the state) and the digest that its watcher acknowledged; for watcher information which changes of
--       the watchers the document shows: after `since`, up to `until`, and whether it has to be whole, since what its
--       reader has is in doubt; `at` is Postgres's time
-- Pre   An event whose presentity still has dialogs to mark stays. A dialog with a NOTIFY outstanding is not
--       marked: it lags, and the outcome of that NOTIFY makes an event for it.
--       One that is pending owes nothing for a change (RFC 3857 section 4.7.1): who decides on it sets its
--       sent_version to 0.
--       The claim takes the acknowledged digest: only an outcome that knows what the watcher has seen puts one back,
--       so a mark that is cleared in any other way leaves none.
--       Whatever changes watchers holds the row of their event, and so does a claim that shows them: what is not
--       committed by then gets a number above `until`. Who changed them raised no version of those who watch them,
--       whose row it did not hold; that is done here.
-- Locks change_event (SKIP LOCKED), presentity_state in key order, delivery
CREATE FUNCTION claim_notifies_v1(p_notifier text, p_events int4, p_dialogs int4, p_patience interval)
RETURNS TABLE (
    presentity_hash int4, presentity_uri text, event text, version int8, dialog_id bytea, cseq int4,
    document_version int4, status int2, revision int4, sent_before int8, acked_digest bytea,
    since int8, until int8, whole bool, at timestamptz
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_events change_event[];
    v_until int8 := 0;
    v_marked int4;
BEGIN
    WITH taken AS (
        SELECT e.*
        FROM change_event AS e
        WHERE e.due <= v_now
        ORDER BY e.due, e.id
        LIMIT p_events
        FOR UPDATE SKIP LOCKED
    )
    SELECT array_agg(t::change_event) INTO v_events FROM taken AS t;
    IF v_events IS NULL THEN
        RETURN;
    END IF;

    PERFORM 1
    FROM presentity_state AS s
    JOIN (
        SELECT DISTINCT e.presentity_hash, e.presentity_uri, l.event
        FROM unnest(v_events) AS e
        CROSS JOIN LATERAL (VALUES (e.event), (base_event_v1(e.event))) AS l (event)
    ) AS k USING (presentity_hash, presentity_uri, event)
    ORDER BY s.presentity_hash, s.presentity_uri, s.event
    FOR NO KEY UPDATE OF s;

    IF EXISTS (SELECT FROM unnest(v_events) AS e WHERE e.event LIKE '%.winfo') THEN
        v_until := nextval('presentity_version');
        UPDATE presentity_state AS s
        SET version = v_until
        FROM unnest(v_events) AS e
        WHERE e.bump AND s.presentity_hash = e.presentity_hash AND s.presentity_uri = e.presentity_uri
            AND s.event = e.event;
    END IF;

    v_now := clock_timestamp();

    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT s.presentity_hash, d.dialog_id, s.version, d.sent_version, d.acked_digest,
            d.shown_version, d.acked_version
        FROM unnest(v_events) AS e
        JOIN presentity_state AS s USING (presentity_hash, presentity_uri, event)
        JOIN delivery AS d ON d.presentity_hash = e.presentity_hash AND d.dialog_id = e.dialog_id
        WHERE e.dialog_id IS NOT NULL AND d.sent_version < s.version AND d.outstanding_cseq IS NULL
            AND (d.status <> 2 OR d.sent_version = 0)
            AND d.edge_instance IS NOT NULL AND (d.not_before IS NULL OR d.not_before <= v_now)
        UNION
        SELECT s.presentity_hash, d.dialog_id, s.version, d.sent_version, d.acked_digest,
            d.shown_version, d.acked_version
        FROM unnest(v_events) AS e
        JOIN presentity_state AS s USING (presentity_hash, presentity_uri, event)
        JOIN delivery AS d ON d.presentity_hash = e.presentity_hash
            AND d.presentity_uri = e.presentity_uri AND d.event = e.event
        WHERE e.dialog_id IS NULL AND d.sent_version < s.version AND d.outstanding_cseq IS NULL
            AND (d.status <> 2 OR d.sent_version = 0)
            AND d.edge_instance IS NOT NULL AND (d.not_before IS NULL OR d.not_before <= v_now)
        LIMIT p_dialogs
    )
    UPDATE delivery AS d
    SET local_cseq = d.local_cseq + 1, version = d.version + 1, sent_version = u.version, shown_version = v_until,
        acked_digest = NULL, outstanding_cseq = d.local_cseq + 1, outstanding_notifier = p_notifier,
        outstanding_until = v_now + p_patience
    FROM due AS u
    WHERE d.presentity_hash = u.presentity_hash AND d.dialog_id = u.dialog_id
    RETURNING d.presentity_hash, d.presentity_uri, d.event, u.version, d.dialog_id, d.local_cseq, d.version,
        d.status, d.revision, u.sent_version, u.acked_digest, u.acked_version, v_until,
        u.sent_version = 0 OR u.shown_version <> u.acked_version, v_now;
    GET DIAGNOSTICS v_marked = ROW_COUNT;

    IF v_marked < p_dialogs THEN
        DELETE FROM change_event AS c
        USING unnest(v_events) AS e
        WHERE c.presentity_hash = e.presentity_hash AND c.id = e.id;
    ELSE
        DELETE FROM change_event AS c
        USING unnest(v_events) AS e
        WHERE c.presentity_hash = e.presentity_hash AND c.id = e.id
            AND NOT EXISTS (
                SELECT
                FROM presentity_state AS s
                JOIN delivery AS d ON d.presentity_hash = s.presentity_hash
                    AND d.presentity_uri = s.presentity_uri AND d.event = s.event
                WHERE s.presentity_hash = e.presentity_hash AND s.presentity_uri = e.presentity_uri
                    AND s.event = e.event AND (e.dialog_id IS NULL OR d.dialog_id = e.dialog_id)
                    AND d.sent_version < s.version AND d.outstanding_cseq IS NULL AND d.edge_instance IS NOT NULL
                    AND (d.status <> 2 OR d.sent_version = 0)
                    AND (d.not_before IS NULL OR d.not_before <= v_now)
            );
        -- Raised again, the version would make those owe a NOTIFY that have just been marked.
        UPDATE change_event AS c
        SET bump = false
        FROM unnest(v_events) AS e
        WHERE e.bump AND c.presentity_hash = e.presentity_hash AND c.id = e.id;
    END IF;
END
$$;

-- Apply the outcomes of NOTIFYs.
--
-- In    arrays: the dialog, the CSeq of the NOTIFY, the verdict: 'delivered'; 'ended' (the dialog is over, RFC 6665
--       section 4.2.2); 'kept' (failed, the subscription lives, the state is not sent again by itself); 'again' (owed
--       again after so many seconds: Retry-After, a fault of ours); 'silent' (no answer: owed again after so many seconds, twice as
--       many each time, until as many in a row as `p_silences` says got none); 'unchanged' (not sent: the document is
--       the one that the watcher has); 'unsent' (surely not sent, owed again after so many seconds); 'waits' (the
--       watcher's connection is gone: owed until its next SUBSCRIBE, which names another one); seconds; why it ended;
--       the digest of the document
-- Out   the dialogs that ended, and those that owe another NOTIFY
-- Pre   An outcome whose CSeq is not the outstanding one is old news and changes nothing.
--       What was surely not sent gives its document version back, so that documents have no gap. Its CSeq is given
--       back by 'unchanged' alone, which never left the notifier that claimed it and is said once.
-- Locks presentity_state in key order, then delivery, active_watchers
CREATE FUNCTION apply_outcomes_v1(
    p_hash int4[], p_dialog bytea[], p_cseq int4[], p_verdict text[], p_seconds float8[], p_reason text[],
    p_digest bytea[], p_silences int4
) RETURNS TABLE (presentity_hash int4, dialog_id bytea, revision int4, again bool)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
BEGIN
    PERFORM 1
    FROM presentity_state AS s
    JOIN (
        SELECT DISTINCT d.presentity_hash, d.presentity_uri, d.event
        FROM unnest(p_hash, p_dialog) AS o (hash, dialog)
        JOIN delivery AS d ON d.presentity_hash = o.hash AND d.dialog_id = o.dialog
    ) AS k USING (presentity_hash, presentity_uri, event)
    ORDER BY s.presentity_hash, s.presentity_uri, s.event
    FOR NO KEY UPDATE OF s;

    v_now := clock_timestamp();

    RETURN QUERY
    WITH outcome AS MATERIALIZED (
        SELECT d.presentity_hash, d.dialog_id, d.presentity_uri, d.event, o.reason, o.verdict AS found,
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
        FROM unnest(p_hash, p_dialog, p_cseq, p_verdict, p_seconds, p_reason, p_digest)
            AS o (hash, dialog, cseq, verdict, seconds, reason, digest)
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

-- Give up marks that nobody will clear: their notifier is dead, or their time is over. Each dialog is owed again.
--
-- In    notifiers that are dead; how many marks at most; a claim younger than `p_grace` is left alone, since its edge
--       may be about to report
-- Out   how many marks were cleared
-- Locks presentity_state in key order (SKIP LOCKED: what is busy comes next time), then delivery
CREATE FUNCTION clear_marks_v1(p_dead_notifiers text[], p_limit int4, p_patience interval, p_grace interval)
RETURNS int4 LANGUAGE plpgsql
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_found delivery[];
    v_cleared int4;
BEGIN
    WITH found AS (
        SELECT d.*
        FROM delivery AS d
        WHERE d.outstanding_cseq IS NOT NULL
            AND (d.outstanding_until <= v_now
                 OR (d.outstanding_notifier = ANY (p_dead_notifiers)
                     AND d.outstanding_until <= v_now + p_patience - p_grace))
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
    cleared AS (
        UPDATE delivery AS d
        SET outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL, sent_version = 0
        FROM unnest(v_found) AS f
        JOIN held AS h USING (presentity_hash, presentity_uri, event)
        WHERE d.presentity_hash = f.presentity_hash AND d.dialog_id = f.dialog_id
            AND d.outstanding_cseq = f.outstanding_cseq
        RETURNING d.presentity_hash, d.presentity_uri, d.event, d.dialog_id
    )
    INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
    SELECT c.presentity_hash, c.presentity_uri, c.event, c.dialog_id, v_now FROM cleared AS c;
    GET DIAGNOSTICS v_cleared = ROW_COUNT;
    RETURN v_cleared;
END
$$;

-- An edge instance is gone: give its UDP dialogs to another one, let those bound to a connection wait for their next
-- SUBSCRIBE, and clear what was outstanding over it.
--
-- In    the instance that is gone; the instance and address that take over (NULL: none, all wait); how many at most;
--       true: the edge is there yet and about to go, so that only UDP dialogs with nothing outstanding are moved
-- Out   how many dialogs were changed; call again until it is 0
-- Locks presentity_state in key order (SKIP LOCKED), then delivery, active_watchers
CREATE FUNCTION rehome_dialogs_v1(p_gone text, p_instance text, p_address text, p_limit int4, p_gently bool)
RETURNS int4 LANGUAGE plpgsql
SET jit = off SET plan_cache_mode = force_generic_plan
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
    moved AS (
        UPDATE delivery AS d
        SET edge_instance = CASE d.transport WHEN 'udp' THEN p_instance END,
            revision = d.revision + 1,
            sent_version = CASE WHEN d.outstanding_cseq IS NULL THEN d.sent_version ELSE 0 END,
            outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL
        FROM unnest(v_found) AS f
        JOIN held AS h USING (presentity_hash, presentity_uri, event)
        WHERE d.presentity_hash = f.presentity_hash AND d.dialog_id = f.dialog_id AND d.edge_instance = p_gone
            AND ((d.transport = 'udp' AND p_instance IS NOT NULL) OR d.status <> 3)
            AND (NOT p_gently OR d.outstanding_cseq IS NULL)
        RETURNING d.presentity_hash, d.presentity_uri, d.event, d.dialog_id, d.edge_instance, d.revision
    ),
    -- Nobody is left to tell of the end of a dialog whose connection is gone.
    untold AS (
        DELETE FROM delivery AS d
        USING unnest(v_found) AS f
        JOIN held AS h USING (presentity_hash, presentity_uri, event)
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

-- The watchers that documents of watcher information show (RFC 3857), all in one snapshot.
--
-- In    arrays, one element for each document: the presentity and the event that is watched; the changes that it shows:
--       after `since`, up to `until`; whole: every watcher that is there
-- Out   one row for each watcher of each document, in the order they came. Where one was lost within the changes, the
--       document is `full`, as a whole one is, and shows it once as terminated.
CREATE FUNCTION read_watchers_v1(
    p_hash int4[], p_uri text[], p_event text[], p_since int8[], p_until int8[], p_whole bool[]
) RETURNS TABLE (
    ordinal int8, "full" bool, dialog_id bytea, watcher_username text, watcher_domain text, from_uri text,
    status int2, status_event text, created timestamptz, expires timestamptz
) LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT f.ordinal, f.full, f.dialog_id, f.watcher_username, f.watcher_domain, f.from_uri, f.status, f.status_event,
        f.created, f.expires
    FROM (
        SELECT r.ordinal, w.*, r.since, w.status = 3 AND w.changed > r.since AND w.changed <= r.until AS lost,
            r.whole OR bool_or(w.status = 3 AND w.changed > r.since AND w.changed <= r.until)
                OVER (PARTITION BY r.ordinal) AS full
        FROM unnest(p_hash, p_uri, p_event, p_since, p_until, p_whole)
            WITH ORDINALITY AS r (hash, uri, event, since, until, whole, ordinal)
        JOIN active_watchers AS w
            ON w.presentity_hash = r.hash AND w.presentity_uri = r.uri AND w.event = r.event
    ) AS f
    WHERE CASE f.status WHEN 3 THEN f.lost ELSE f.full OR f.changed > f.since END
    ORDER BY f.ordinal, f.created, f.dialog_id;
END
$$;
