-- Give up marks that nobody will clear: their notifier is dead, or their time is over. Each dialog is owed again. As
-- clear_marks_v1, but for where it looks: at what claims have noted, the last ones first.
--
-- In    notifiers that are dead; how many marks at most; a claim younger than `p_grace` is left alone, since its edge
--       may be about to report
-- Out   how many marks were cleared, and whether another call would find more at once
-- Pre   A claim of which nothing is left to clear is forgotten.
-- Locks notify_claim (SKIP LOCKED: another notifier looks at those), presentity_state in key order (SKIP LOCKED: what
--       is busy comes next time), then delivery
CREATE FUNCTION clear_marks_v2(p_dead_notifiers text[], p_limit int4, p_patience interval, p_grace interval)
RETURNS TABLE (cleared int4, again bool) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_claims int8[];
    v_found delivery[];
    v_cleared int4 := 0;
    v_done int4;
    c_claims CONSTANT int4 := 100;
BEGIN
    WITH looked AS (
        SELECT c.id
        FROM notify_claim AS c
        WHERE c.until <= v_now
            OR (c.notifier = ANY (p_dead_notifiers) AND c.until <= v_now + p_patience - p_grace)
        ORDER BY c.id DESC
        LIMIT c_claims
        FOR UPDATE SKIP LOCKED
    )
    SELECT array_agg(l.id) INTO v_claims FROM looked AS l;
    IF v_claims IS NULL THEN
        RETURN QUERY SELECT 0, false;
        RETURN;
    END IF;

    WITH found AS (
        SELECT d.*
        FROM (
            SELECT DISTINCT m.presentity_hash, m.dialog_id
            FROM notify_claim AS c
            CROSS JOIN LATERAL unnest(c.presentity_hashes, c.dialog_ids) AS m (presentity_hash, dialog_id)
            WHERE c.id = ANY (v_claims)
        ) AS m
        CROSS JOIN LATERAL (
            -- OFFSET 0: by the keys, however few dialogs the planner knows of.
            SELECT d.* FROM delivery AS d
            WHERE d.presentity_hash = m.presentity_hash AND d.dialog_id = m.dialog_id OFFSET 0
        ) AS d
        WHERE d.outstanding_cseq IS NOT NULL
            AND (d.outstanding_until <= v_now
                 OR (d.outstanding_notifier = ANY (p_dead_notifiers)
                     AND d.outstanding_until <= v_now + p_patience - p_grace))
        LIMIT p_limit
    )
    SELECT array_agg(f::delivery) INTO v_found FROM found AS f;

    IF v_found IS NOT NULL THEN
        WITH held AS MATERIALIZED (
            SELECT s.presentity_hash, s.presentity_uri, s.event
            FROM presentity_state AS s
            JOIN (SELECT DISTINCT f.presentity_hash, f.presentity_uri, f.event FROM unnest(v_found) AS f) AS k
                USING (presentity_hash, presentity_uri, event)
            ORDER BY s.presentity_hash, s.presentity_uri, s.event
            FOR NO KEY UPDATE OF s SKIP LOCKED
        ),
        given_up AS (
            UPDATE delivery AS d
            SET outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL, sent_version = 0
            FROM unnest(v_found) AS f
            JOIN held AS h USING (presentity_hash, presentity_uri, event)
            WHERE d.presentity_hash = f.presentity_hash AND d.dialog_id = f.dialog_id
                AND d.outstanding_cseq = f.outstanding_cseq
            RETURNING d.presentity_hash, d.presentity_uri, d.event, d.dialog_id
        )
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT g.presentity_hash, g.presentity_uri, g.event, g.dialog_id, v_now FROM given_up AS g;
        GET DIAGNOSTICS v_cleared = ROW_COUNT;
    END IF;

    DELETE FROM notify_claim AS c
    WHERE c.id = ANY (v_claims)
        AND CASE WHEN v_cleared = coalesce(cardinality(v_found), 0) AND v_cleared < p_limit THEN true ELSE NOT EXISTS (
            SELECT
            FROM unnest(c.presentity_hashes, c.dialog_ids) AS m (presentity_hash, dialog_id)
            CROSS JOIN LATERAL (
                SELECT d.* FROM delivery AS d
                WHERE d.presentity_hash = m.presentity_hash AND d.dialog_id = m.dialog_id OFFSET 0
            ) AS d
            WHERE d.outstanding_cseq IS NOT NULL
                AND (d.outstanding_until <= v_now
                     OR (d.outstanding_notifier = ANY (p_dead_notifiers)
                         AND d.outstanding_until <= v_now + p_patience - p_grace))
        ) END;
    GET DIAGNOSTICS v_done = ROW_COUNT;
    RETURN QUERY SELECT v_cleared,
        (cardinality(v_claims) = c_claims OR cardinality(v_found) = p_limit) AND v_cleared + v_done > 0;
END
$$;

-- Note what was marked before claims were noted (0009), in another transaction than that: a claim that was under way
-- when the functions changed is over when this has its lock. Reads `delivery` once: half a second for a million dialogs.
LOCK TABLE change_event IN EXCLUSIVE MODE;
INSERT INTO notify_claim (notifier, claim, until, presentity_hashes, dialog_ids)
SELECT coalesce(d.outstanding_notifier, ''), d.outstanding_claim, d.outstanding_until, array_agg(d.presentity_hash),
    array_agg(d.dialog_id)
FROM delivery AS d
WHERE d.outstanding_cseq IS NOT NULL AND d.outstanding_until IS NOT NULL
GROUP BY d.outstanding_notifier, d.outstanding_claim, d.outstanding_until;
