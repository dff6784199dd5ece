-- A standby that takes over may lack what was committed in the last moments, CSeqs among it: numbers that watchers have
-- seen are not given out again.

-- The timeline of the server, which rises when a standby takes over; 0 where the server does not tell.
CREATE FUNCTION timeline_v1() RETURNS int4 LANGUAGE plpgsql AS $$
BEGIN
    RETURN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4;
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END
$$;

-- On which timeline the last NOTIFY of a dialog was claimed, or the dialog was made. The code before this one leaves it
-- as it is, which costs a leap of the numbers and nothing else.
DO $$
BEGIN
    -- A constant: no row is written for it.
    EXECUTE format('ALTER TABLE delivery ADD COLUMN timeline int4 NOT NULL DEFAULT %s', timeline_v1());
END
$$;
ALTER TABLE delivery ALTER COLUMN timeline SET DEFAULT timeline_v1();

-- claim_notifies_v1, and besides: what was marked is noted in notify_claim.
--
-- In    the number of this claim, higher than those before it of the same notifier; the numbers of those whose answer
--       was lost since the last answer
-- Out   the version of the rules that the watcher is to be judged by (0: there are none). Where dialogs are marked by a
--       lost claim: those, with the CSeqs they were given, and nothing else. What their watchers have is in doubt then,
--       so nothing is left out for being known
-- Pre   One that is pending owes nothing for a change, unless that may decide on it: other rules, a sphere that they ask
--       for, their time. Who decides on a dialog sets its sent_version to 0.
--       A notifier makes one claim at a time. A lost one that comes late, after it was asked for, does nothing.
--       Where the last NOTIFY of a dialog was claimed on another timeline, CSeq and document version leap over all that
--       the server before may have given out. What the watcher has is in doubt then, so nothing is left out for being
--       known.
--       A condition on edge_instance beside a key would let the planner walk its index instead: it is judged in a CASE.
CREATE FUNCTION claim_notifies_v2(
    p_notifier text, p_events int4, p_dialogs int4, p_patience interval, p_claim int8, p_lost int8[]
) RETURNS TABLE (
    presentity_hash int4, presentity_uri text, event text, version int8, dialog_id bytea, cseq int4,
    document_version int4, status int2, revision int4, sent_before int8, acked_digest bytea,
    since int8, until int8, whole bool, rules int8, at timestamptz
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_events change_event[];
    v_until int8 := 0;
    v_marked int4;
    v_lost delivery[];
    v_timeline int4;
    c_margin CONSTANT int4 := 10000;
BEGIN
    -- Where an earlier claim of this notifier is still under way, it ends first: then its marks can be seen.
    PERFORM pg_advisory_xact_lock(hashtextextended('claim ' || p_notifier, 0));
    IF p_lost = '{}' THEN
        IF EXISTS (SELECT FROM claim_fence AS f WHERE f.notifier = p_notifier AND f.claim > p_claim) THEN
            RETURN;
        END IF;
    ELSE
        INSERT INTO claim_fence AS f (notifier, claim, written)
        VALUES (p_notifier, p_claim, v_now)
        ON CONFLICT (notifier) DO UPDATE SET claim = greatest(f.claim, p_claim), written = v_now;
        DELETE FROM claim_fence AS f WHERE f.written < v_now - interval '1 day';

        SELECT array_agg(d::delivery) INTO v_lost
        FROM notify_claim AS c
        CROSS JOIN LATERAL unnest(c.presentity_hashes, c.dialog_ids) AS m (presentity_hash, dialog_id)
        CROSS JOIN LATERAL (
            -- OFFSET 0: by the keys, however few dialogs the planner knows of.
            SELECT d.* FROM delivery AS d
            WHERE d.presentity_hash = m.presentity_hash AND d.dialog_id = m.dialog_id OFFSET 0
        ) AS d
        WHERE c.notifier = p_notifier AND c.claim = ANY (p_lost) AND d.outstanding_cseq IS NOT NULL
            AND d.outstanding_notifier = p_notifier AND d.outstanding_claim = c.claim;
        IF v_lost IS NOT NULL THEN
            PERFORM 1
            FROM presentity_state AS s
            JOIN (SELECT DISTINCT l.presentity_hash, l.presentity_uri, l.event FROM unnest(v_lost) AS l) AS k
                USING (presentity_hash, presentity_uri, event)
            ORDER BY s.presentity_hash, s.presentity_uri, s.event
            FOR NO KEY UPDATE OF s;

            v_now := clock_timestamp();

            -- Nobody has sent it: with what holds now it brings all that is owed by now.
            RETURN QUERY
            UPDATE delivery AS d
            SET sent_version = s.version, outstanding_claim = p_claim, outstanding_until = v_now + p_patience
            FROM unnest(v_lost) AS l
            JOIN presentity_state AS s USING (presentity_hash, presentity_uri, event)
            LEFT JOIN watcher_rules AS a USING (presentity_hash, presentity_uri, event)
            WHERE d.presentity_hash = l.presentity_hash AND d.dialog_id = l.dialog_id
                AND d.outstanding_cseq = l.outstanding_cseq AND d.outstanding_notifier = p_notifier
            RETURNING d.presentity_hash, d.presentity_uri, d.event, s.version, d.dialog_id, d.local_cseq, d.version,
                d.status, d.revision, 0::int8, NULL::bytea, d.acked_version, d.shown_version, true,
                coalesce(a.version, 0), v_now;
            IF FOUND THEN
                INSERT INTO notify_claim (notifier, claim, until, presentity_hashes, dialog_ids)
                SELECT p_notifier, p_claim, v_now + p_patience, array_agg(l.presentity_hash), array_agg(l.dialog_id)
                FROM unnest(v_lost) AS l;
                RETURN;
            END IF;
        END IF;
    END IF;

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
    v_timeline := timeline_v1();

    -- Of each presentity all events, the base of what shows watchers among them: a search by the hash alone cannot become
    -- a join with the whole table, which the planner may have seen with a single row.
    PERFORM 1
    FROM presentity_state AS s
    WHERE s.presentity_hash = ANY (ARRAY(SELECT e.presentity_hash FROM unnest(v_events) AS e))
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
    -- OFFSET 0: each search is by the whole key, whatever the planner thinks of the tables' sizes.
    WITH due AS MATERIALIZED (
        SELECT s.presentity_hash, d.dialog_id, s.version, d.sent_version, d.acked_digest,
            d.shown_version, d.acked_version, a.version AS rules,
            CASE d.timeline WHEN v_timeline THEN 1 ELSE 1 + c_margin END AS step
        FROM unnest(v_events) AS e
        CROSS JOIN LATERAL (
            SELECT * FROM presentity_state AS k
            WHERE k.presentity_hash = e.presentity_hash AND k.presentity_uri = e.presentity_uri AND k.event = e.event
            OFFSET 0
        ) AS s
        LEFT JOIN watcher_rules AS a
            ON a.presentity_hash = e.presentity_hash AND a.presentity_uri = e.presentity_uri AND a.event = e.event
        CROSS JOIN LATERAL (
            SELECT * FROM delivery AS k
            WHERE k.presentity_hash = e.presentity_hash AND k.dialog_id = e.dialog_id OFFSET 0
        ) AS d
        WHERE e.dialog_id IS NOT NULL AND d.sent_version < s.version AND d.outstanding_cseq IS NULL
            AND (d.status <> 2 OR d.sent_version = 0 OR a.by_sphere OR d.sent_version < a.judged)
            AND CASE WHEN d.edge_instance IS NULL THEN false ELSE d.not_before IS NULL OR d.not_before <= v_now END
        UNION
        SELECT s.presentity_hash, d.dialog_id, s.version, d.sent_version, d.acked_digest,
            d.shown_version, d.acked_version, a.version AS rules,
            CASE d.timeline WHEN v_timeline THEN 1 ELSE 1 + c_margin END AS step
        FROM unnest(v_events) AS e
        CROSS JOIN LATERAL (
            SELECT * FROM presentity_state AS k
            WHERE k.presentity_hash = e.presentity_hash AND k.presentity_uri = e.presentity_uri AND k.event = e.event
            OFFSET 0
        ) AS s
        LEFT JOIN watcher_rules AS a
            ON a.presentity_hash = e.presentity_hash AND a.presentity_uri = e.presentity_uri AND a.event = e.event
        JOIN delivery AS d ON d.presentity_hash = e.presentity_hash
            AND d.presentity_uri = e.presentity_uri AND d.event = e.event
        WHERE e.dialog_id IS NULL AND d.sent_version < s.version AND d.outstanding_cseq IS NULL
            AND (d.status <> 2 OR d.sent_version = 0 OR a.by_sphere OR d.sent_version < a.judged)
            AND CASE WHEN d.edge_instance IS NULL THEN false ELSE d.not_before IS NULL OR d.not_before <= v_now END
        LIMIT p_dialogs
    ),
    noted AS (
        INSERT INTO notify_claim (notifier, claim, until, presentity_hashes, dialog_ids)
        SELECT p_notifier, p_claim, v_now + p_patience, array_agg(u.presentity_hash), array_agg(u.dialog_id)
        FROM due AS u
        HAVING count(*) > 0
    )
    UPDATE delivery AS d
    SET local_cseq = d.local_cseq + u.step, version = d.version + u.step, sent_version = u.version,
        shown_version = v_until, acked_digest = NULL, outstanding_cseq = d.local_cseq + u.step,
        outstanding_notifier = p_notifier, outstanding_until = v_now + p_patience, outstanding_claim = p_claim,
        timeline = v_timeline
    FROM due AS u
    WHERE d.presentity_hash = u.presentity_hash AND d.dialog_id = u.dialog_id
    RETURNING d.presentity_hash, d.presentity_uri, d.event, u.version, d.dialog_id, d.local_cseq, d.version,
        d.status, d.revision, CASE u.step WHEN 1 THEN u.sent_version ELSE 0 END,
        CASE u.step WHEN 1 THEN u.acked_digest END, u.acked_version, v_until,
        u.step > 1 OR u.sent_version = 0 OR u.shown_version <> u.acked_version, coalesce(u.rules, 0), v_now;
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
                LEFT JOIN watcher_rules AS a USING (presentity_hash, presentity_uri, event)
                JOIN delivery AS d ON d.presentity_hash = s.presentity_hash
                    AND d.presentity_uri = s.presentity_uri AND d.event = s.event
                WHERE s.presentity_hash = e.presentity_hash AND s.presentity_uri = e.presentity_uri
                    AND s.event = e.event AND (e.dialog_id IS NULL OR d.dialog_id = e.dialog_id)
                    AND d.sent_version < s.version AND d.outstanding_cseq IS NULL
                    AND (d.status <> 2 OR d.sent_version = 0 OR a.by_sphere OR d.sent_version < a.judged)
                    AND CASE WHEN d.edge_instance IS NULL THEN false ELSE d.not_before IS NULL OR d.not_before <= v_now END
            );
        -- Raised again, the version would make those owe a NOTIFY that have just been marked.
        UPDATE change_event AS c
        SET bump = false
        FROM unnest(v_events) AS e
        WHERE e.bump AND c.presentity_hash = e.presentity_hash AND c.id = e.id;
    END IF;
END
$$;
