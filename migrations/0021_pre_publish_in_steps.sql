-- publish_batch_v1, which has the rules, in steps instead of one statement: a step that no request of the batch needs is
-- not begun. To begin all of them cost a batch of one more than all the rest, and each step of the one statement took
-- along the bodies.
--
-- In, Out, Locks as v1. Nobody else changes what is under the locks, so all steps see what the first one saw.
CREATE FUNCTION publish_batch_v2(
    p_hash int4[], p_uri text[], p_username text[], p_domain text[], p_event text[], p_key bytea[],
    p_publication bytea[], p_sequence int4[], p_expires int4[], p_content_type text[], p_body bytea[], p_sender text[],
    p_apply bool[], p_max_publications int4, p_sender_dialogs text[], p_linger int4,
    p_call text[], p_leg text[], p_over bool[], p_mixes bool
) RETURNS TABLE (
    ordinal int8, verdict text, sequence int4, granted int4, version int8, watched bool,
    other_ids bytea[], other_versions int8[], at timestamptz
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_before int8;
    -- One element for each request.
    v_verdict text[];
    v_sequence int4[];
    v_granted int4[];
    v_version int8[];
    v_watched bool[];
    v_overtaken bool[];
    -- Whether there is one that changes something, ends a call, is watched, has a sender who watches.
    v_changes bool;
    v_ends bool;
    v_tells bool;
    v_excuses bool;
BEGIN
    -- The lock: a row that is there is locked and not touched, a row that is not is made.
    IF p_mixes THEN
        INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version)
        SELECT DISTINCT r.hash, r.uri COLLATE "C" AS uri, e.event COLLATE "C" AS event, 0
        FROM unnest(p_hash, p_uri, p_event) AS r (hash, uri, event)
        CROSS JOIN LATERAL (VALUES (r.event), (CASE r.event WHEN 'dialog' THEN 'presence' END)) AS e (event)
        WHERE e.event IS NOT NULL
        ORDER BY 1, 2, 3
        ON CONFLICT (presentity_hash, presentity_uri, event) DO UPDATE SET version = 0 WHERE false;
        v_before := nextval('presentity_version');
    ELSE
        INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version)
        SELECT r.hash, r.uri, r.event, 0
        FROM unnest(p_hash, p_uri, p_event) AS r (hash, uri, event)
        ORDER BY r.hash, r.uri COLLATE "C", r.event COLLATE "C"
        ON CONFLICT (presentity_hash, presentity_uri, event) DO UPDATE SET version = 0 WHERE false;
    END IF;

    v_now := clock_timestamp();

    -- OFFSET 0: what one step has found is not looked for again in the next. LIMIT 1: with EXISTS the planner, which may
    -- have seen the table empty, would read it whole.
    SELECT array_agg(j.verdict), array_agg(j.answer_sequence), array_agg(j.answer_granted), array_agg(j.version),
        array_agg(j.watched), array_agg(j.overtaken), bool_or(j.changes), bool_or(j.changes AND j.over),
        bool_or(j.watched), bool_or(j.watched AND j.sender IS NOT NULL)
    INTO v_verdict, v_sequence, v_granted, v_version, v_watched, v_overtaken, v_changes, v_ends, v_tells, v_excuses
    FROM (
        SELECT j.*, CASE WHEN j.changes THEN nextval('presentity_version') END AS version,
            j.changes AND (p_sender_dialogs IS NOT NULL OR (
                SELECT true FROM delivery AS y
                WHERE y.presentity_hash = j.hash AND y.presentity_uri = j.uri AND y.event = j.event
                LIMIT 1
            ) IS TRUE) AS watched,
            CASE j.verdict
                WHEN 'created' THEN 1 WHEN 'late' THEN 1 WHEN 'replayed' THEN j.held_sequence ELSE j.held_sequence + 1
            END AS answer_sequence,
            CASE j.verdict WHEN 'replayed' THEN j.held_granted ELSE j.expires END AS answer_granted
        FROM (
            SELECT j.*, j.verdict IN ('created', 'modified', 'removed', 'lingers') AND NOT j.overtaken AS changes
            FROM (
                SELECT j.*, CASE WHEN j.verdict = 'created' AND j.call IS NOT NULL AND NOT j.over THEN EXISTS (
                    SELECT FROM presentity AS p
                    WHERE p.presentity_hash = j.hash AND p.presentity_uri = j.uri AND p.event = j.event
                        AND p.call_over AND p.call_key = j.call
                        AND (p.call_leg IS NULL OR j.leg IS NULL OR p.call_leg = j.leg)
                ) ELSE false END AS overtaken
                FROM (
                    SELECT r.ordinal, r.hash, r.uri, r.event, r.expires, r.sender, r.call, r.leg, r.over,
                        p.sequence AS held_sequence, p.granted AS held_granted,
                        CASE
                            WHEN p.publication_id IS NULL AND r.sequence IS NULL THEN
                                CASE WHEN p_max_publications > 0 AND p_max_publications <= (
                                    -- What lingers takes nobody's place, but there may not be more of it.
                                    SELECT count(*) FILTER (
                                        WHERE o.ended IS NULL AND o.expires > v_now AND (o.granted > 0) = (r.expires > 0))
                                    FROM presentity AS o
                                    WHERE o.presentity_hash = r.hash AND o.presentity_uri = r.uri AND o.event = r.event
                                ) THEN 'too_many' ELSE 'created' END
                            WHEN p.publication_id IS NULL THEN 'unmatched'
                            WHEN p.last_key = r.key THEN 'replayed'
                            WHEN r.sequence IS NULL THEN 'late'
                            WHEN p.ended IS NOT NULL OR p.expires <= v_now OR p.sequence <> r.sequence
                                OR p.granted = 0 THEN 'unmatched'
                            WHEN NOT r.apply THEN 'withheld'
                            WHEN r.expires = 0 THEN CASE WHEN r.body IS NULL THEN 'removed' ELSE 'lingers' END
                            WHEN r.body IS NULL OR (r.body = p.body AND r.content_type = p.content_type) THEN 'refreshed'
                            ELSE 'modified'
                        END AS verdict
                    FROM unnest(p_hash, p_uri, p_event, p_key, p_publication, p_sequence, p_expires, p_content_type,
                            p_body, p_sender, p_apply, p_call, p_leg, p_over)
                        WITH ORDINALITY AS r (hash, uri, event, key, publication, sequence, expires, content_type,
                            body, sender, apply, call, leg, over, ordinal)
                    LEFT JOIN presentity AS p
                        ON p.presentity_hash = r.hash AND p.publication_id = r.publication
                        AND p.presentity_uri = r.uri AND p.event = r.event
                    OFFSET 0
                ) AS j
                OFFSET 0
            ) AS j
            OFFSET 0
        ) AS j
        ORDER BY j.ordinal
    ) AS j;

    IF v_excuses AND p_sender_dialogs IS NULL THEN
        -- Who sent the change knows it; where its dialog lags behind, or has an older state on its way, it is told with
        -- what else is new, whatever it acknowledged before.
        UPDATE delivery AS y
        SET sent_version = CASE WHEN y.sent_version = s.version AND y.outstanding_cseq IS NULL THEN d.version ELSE 0 END,
            acked_digest = NULL
        FROM unnest(p_hash, p_uri, p_event, p_sender, v_version, v_watched) AS d (hash, uri, event, sender, version, watched)
        JOIN presentity_state AS s
            ON s.presentity_hash = d.hash AND s.presentity_uri = d.uri AND s.event = d.event
        JOIN active_watchers AS w
            ON w.presentity_hash = d.hash AND w.presentity_uri = d.uri AND w.event = d.event
            AND split_part(w.contact, ';', 1) = d.sender
        WHERE d.watched AND d.sender IS NOT NULL
            AND y.presentity_hash = w.presentity_hash AND y.dialog_id = w.dialog_id AND y.status <> 3;
    END IF;

    IF v_tells THEN
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due, sender, sender_before, sender_after)
        SELECT j.hash, j.uri, j.event, v_now, nullif(j.dialogs, ''),
            CASE WHEN j.dialogs <> '' THEN (
                SELECT s.version FROM presentity_state AS s
                WHERE s.presentity_hash = j.hash AND s.presentity_uri = j.uri AND s.event = j.event
            ) END,
            CASE WHEN j.dialogs <> '' THEN j.version END
        FROM unnest(p_hash, p_uri, p_event, p_sender_dialogs, v_version, v_watched)
            AS j (hash, uri, event, dialogs, version, watched)
        WHERE j.watched;
    END IF;

    IF v_changes THEN
        UPDATE presentity_state AS s
        SET version = j.version
        FROM unnest(p_hash, p_uri, p_event, v_version) AS j (hash, uri, event, version)
        WHERE j.version IS NOT NULL
            AND s.presentity_hash = j.hash AND s.presentity_uri = j.uri AND s.event = j.event;
    END IF;

    IF 'created' = ANY (v_verdict) THEN
        INSERT INTO presentity (presentity_hash, publication_id, presentity_uri, username, domain, event, sequence,
            etag, expires, received_time, content_type, body, sender, version, last_key, granted,
            call_key, call_leg, call_over, ended)
        SELECT j.hash, j.publication, j.uri, j.username, j.domain, j.event, 1,
            encode(j.publication, 'hex') || '.1',
            v_now + make_interval(secs => CASE j.expires WHEN 0 THEN p_linger ELSE j.expires END), v_now,
            j.content_type, CASE WHEN j.overtaken THEN ''::bytea ELSE j.body END, j.sender, coalesce(j.version, 0), j.key,
            j.expires, j.call, j.leg, j.over, CASE WHEN j.overtaken THEN v_now END
        FROM unnest(p_hash, p_uri, p_username, p_domain, p_event, p_key, p_publication, p_expires, p_content_type,
                p_body, p_sender, p_call, p_leg, p_over, v_verdict, v_version, v_overtaken)
            AS j (hash, uri, username, domain, event, key, publication, expires, content_type,
                body, sender, call, leg, over, verdict, version, overtaken)
        WHERE j.verdict = 'created';
    END IF;

    IF v_verdict && ARRAY['modified', 'refreshed', 'removed', 'lingers'] THEN
        UPDATE presentity AS p
        SET sequence = p.sequence + 1,
            etag = encode(p.publication_id, 'hex') || '.' || (p.sequence + 1),
            expires = CASE j.verdict WHEN 'removed' THEN v_now
                ELSE v_now + make_interval(secs => CASE j.expires WHEN 0 THEN p_linger ELSE j.expires END) END,
            received_time = CASE WHEN j.renewed THEN v_now ELSE p.received_time END,
            content_type = CASE WHEN j.renewed THEN j.content_type ELSE p.content_type END,
            body = CASE WHEN j.renewed THEN j.body WHEN j.verdict = 'removed' THEN ''::bytea ELSE p.body END,
            sender = CASE j.verdict WHEN 'refreshed' THEN p.sender ELSE j.sender END,
            version = coalesce(j.version, p.version),
            last_key = j.key,
            granted = j.expires,
            call_key = CASE WHEN j.renewed THEN j.call ELSE p.call_key END,
            call_leg = CASE WHEN j.renewed THEN j.leg ELSE p.call_leg END,
            call_over = CASE WHEN j.renewed THEN j.over ELSE p.call_over END,
            ended = CASE j.verdict WHEN 'removed' THEN v_now END
        FROM (
            SELECT r.*, r.verdict IN ('modified', 'lingers') AS renewed
            FROM unnest(p_hash, p_key, p_publication, p_expires, p_content_type, p_body, p_sender, p_call, p_leg,
                    p_over, v_verdict, v_version)
                AS r (hash, key, publication, expires, content_type, body, sender, call, leg,
                    over, verdict, version)
            WHERE r.verdict IN ('modified', 'refreshed', 'removed', 'lingers')
        ) AS j
        WHERE p.presentity_hash = j.hash AND p.publication_id = j.publication;
    END IF;

    IF v_ends THEN
        -- Their publishers have lost the tags, or did not wait for them, or are gone.
        UPDATE presentity AS p
        SET ended = v_now, body = ''
        FROM unnest(p_hash, p_uri, p_event, p_publication, p_call, p_leg, p_over, v_version)
            AS j (hash, uri, event, publication, call, leg, over, version)
        WHERE j.version IS NOT NULL AND j.over
            AND p.presentity_hash = j.hash AND p.presentity_uri = j.uri AND p.event = j.event
            AND p.publication_id <> j.publication
            AND CASE WHEN p.ended IS NULL THEN NOT p.call_over AND p.call_key = j.call
                AND (p.call_leg IS NULL OR j.leg IS NULL OR p.call_leg = j.leg) ELSE false END;
    END IF;

    RETURN QUERY
    SELECT j.ordinal, CASE j.verdict WHEN 'late' THEN 'replayed' ELSE j.verdict END, j.sequence, j.granted, j.version,
        -- Whether the presence is watched, too, is looked at below.
        j.watched OR (p_mixes AND j.version IS NOT NULL AND j.event = 'dialog'), o.ids, o.versions, v_now
    FROM unnest(p_hash, p_uri, p_event, p_publication, v_verdict, v_sequence, v_granted, v_version, v_watched)
        WITH ORDINALITY AS j (hash, uri, event, publication, verdict, sequence, granted, version, watched, ordinal)
    LEFT JOIN LATERAL (
        -- What is alive is told after the search: the planner must not search by time, which matches nearly all rows.
        SELECT array_agg(a.publication_id) FILTER (WHERE a.alive) AS ids,
            array_agg(a.version) FILTER (WHERE a.alive) AS versions
        FROM (
            SELECT p.publication_id, p.version, p.ended IS NULL AND p.expires > v_now AS alive
            FROM presentity AS p
            WHERE j.version IS NOT NULL AND p.presentity_hash = j.hash AND p.presentity_uri = j.uri
                AND p.event = j.event AND p.publication_id <> j.publication
        ) AS a
    ) AS o ON true;

    IF v_verdict && ARRAY['unmatched', 'replayed', 'withheld'] THEN
        -- A refused request leaves nothing behind, not even the row it locked.
        DELETE FROM presentity_state AS s
        USING unnest(p_hash, p_uri, p_event, p_sequence) AS r (hash, uri, event, sequence)
        WHERE r.sequence IS NOT NULL AND s.version = 0
            AND s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = r.event;
    END IF;

    IF p_mixes AND 'dialog' = ANY (p_event) THEN
        -- Also where nobody watches: documents are remembered by the version.
        WITH raised AS (
            UPDATE presentity_state AS s
            SET version = nextval('presentity_version')
            FROM unnest(p_hash, p_uri, p_event) AS r (hash, uri, event)
            JOIN presentity_state AS d
                ON d.presentity_hash = r.hash AND d.presentity_uri = r.uri AND d.event = r.event
            WHERE r.event = 'dialog' AND d.version > v_before
                AND s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = 'presence'
                AND (s.version > 0 OR p_sender_dialogs IS NOT NULL)
            RETURNING s.presentity_hash, s.presentity_uri, s.event
        )
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due)
        SELECT u.presentity_hash, u.presentity_uri, u.event, v_now
        FROM raised AS u
        WHERE p_sender_dialogs IS NOT NULL OR (
            SELECT true FROM delivery AS y
            WHERE y.presentity_hash = u.presentity_hash AND y.presentity_uri = u.presentity_uri AND y.event = u.event
            LIMIT 1
        );

        DELETE FROM presentity_state AS s
        USING unnest(p_hash, p_uri, p_event) AS r (hash, uri, event)
        WHERE r.event = 'dialog' AND s.version = 0
            AND s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = 'presence';
    END IF;
END
$$;
