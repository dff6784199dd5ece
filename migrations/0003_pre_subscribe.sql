-- Apply a batch of planned SUBSCRIBE requests (RFC 6665 section 4.2.1), each dialog at most once.
--
-- In    arrays, one element for each request: the presentity's hash and, for an initial request, its URI (NULL: the
--       request is in a dialog, which knows it); event and id; the request's key; the dialog's id and whether the
--       request is in it; Call-ID, tags, CSeq; expires in seconds; who watches; To and From values without tags;
--       Contact, Record-Route, our Contact, media type chosen by Accept, User-Agent, +sip.instance; the flow; apply
--       false: the request has another fault, which counts only if its dialog is there; proved: it is known who
--       watches, and a dialog of another watcher is not his; how far a CSeq may be behind;
--       seconds that a dialog outlives what is told; how many dialogs a presentity and a watcher may have (0: any);
--       how long one that ends while it is pending waits for a decision
-- Out   one row for each request: verdict 'created' 'fetched' 'refreshed' 'ended' 'replayed' 'unmatched' (481)
--       'not_yours' 'other_usage' (403) 'out_of_order' (500) 'too_many_watchers' 'too_many_subscriptions' (403) or 'withheld'
--       (matched, not applied); granted seconds; for a dialog that was written, its row as it is now, as far as the
--       caller does not know it
-- Pre   A new dialog ends, without a word, those that its watcher has lost: with the same +sip.instance, or with the
--       same Call-ID and From tag and a lower CSeq. Copies of a forked request have one CSeq and end nothing.
--       It also ends those of its watcher that wait (RFC 3857 section 4.7.1).
-- Locks presentity_state in key order, then active_watchers, delivery. A request for watcher information takes the row
--       of its base event, too, which is made where it is missing: no change of the watchers slips by.
CREATE FUNCTION subscribe_batch_v1(
    p_hash int4[], p_uri text[], p_event text[], p_event_id text[], p_key bytea[], p_dialog bytea[],
    p_in_dialog bool[], p_callid text[], p_to_tag text[], p_from_tag text[], p_cseq int4[], p_expires int4[],
    p_watcher_username text[], p_watcher_domain text[], p_to_uri text[], p_from_uri text[], p_contact text[],
    p_record_route text[], p_local_contact text[], p_accept text[], p_user_agent text[], p_sip_instance text[],
    p_edge_instance text[], p_edge_address text[], p_socket_info text[], p_transport text[],
    p_apply bool[], p_proved bool[], p_cseq_offset int4, p_expires_offset int4, p_max_watchers int4, p_max_subscriptions int4,
    p_waiting interval
) RETURNS TABLE (
    ordinal int8, verdict text, granted int4, revision int4, presentity_uri text, event text, event_id text,
    to_uri text, from_uri text, record_route text, status int2, reason text, expires timestamptz, at timestamptz
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_uri text[];
    v_event text[];
BEGIN
    -- The presentity of a dialog never changes, so it may be read before its lock is taken.
    SELECT array_agg(coalesce(r.uri, w.presentity_uri) ORDER BY r.ordinal),
           array_agg(CASE WHEN r.uri IS NULL THEN w.event ELSE r.event END ORDER BY r.ordinal)
    INTO v_uri, v_event
    FROM unnest(p_hash, p_uri, p_event, p_dialog) WITH ORDINALITY AS r (hash, uri, event, dialog, ordinal)
    LEFT JOIN active_watchers AS w
        ON r.uri IS NULL AND w.presentity_hash = r.hash AND w.dialog_id = r.dialog;

    INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version)
    SELECT DISTINCT r.hash, r.uri COLLATE "C" AS uri, e.event COLLATE "C" AS event, 0
    FROM unnest(p_hash, v_uri, v_event) AS r (hash, uri, event)
    CROSS JOIN LATERAL (VALUES (r.event), (base_event_v1(r.event))) AS e (event)
    WHERE r.uri IS NOT NULL AND e.event IS NOT NULL
    ORDER BY 1, 2, 3
    ON CONFLICT (presentity_hash, presentity_uri, event) DO UPDATE SET version = 0 WHERE false;

    v_now := clock_timestamp();

    RETURN QUERY
    WITH request AS MATERIALIZED (
        SELECT *
        FROM unnest(p_hash, v_uri, v_event, p_event, p_event_id, p_key, p_dialog, p_in_dialog, p_callid, p_to_tag,
                    p_from_tag, p_cseq, p_expires, p_watcher_username, p_watcher_domain, p_to_uri, p_from_uri,
                    p_contact, p_record_route, p_local_contact, p_accept, p_user_agent, p_sip_instance,
                    p_edge_instance, p_edge_address, p_socket_info, p_transport, p_apply, p_proved)
            WITH ORDINALITY AS r (hash, uri, event, asked_event, event_id, key, dialog, in_dialog, callid, to_tag,
                    from_tag, cseq, expires, watcher_username, watcher_domain, to_uri, from_uri, contact,
                    record_route, local_contact, accept, user_agent, sip_instance, edge_instance, edge_address,
                    socket_info, transport, apply, proved, ordinal)
    ),
    found AS MATERIALIZED (
        SELECT r.*, CASE r.expires WHEN 0 THEN 0 ELSE r.expires + p_expires_offset END AS kept,
            w.granted AS held_granted, w.revision AS held_revision, w.event_id AS held_event_id,
            w.to_uri AS held_to_uri, w.from_uri AS held_from_uri, w.record_route AS held_record_route,
            w.status AS held_status, w.reason AS held_reason,
            w.status = 2 AND p_waiting > interval '0' AS waits,
            (w.socket_info, w.edge_instance) IS DISTINCT FROM (r.socket_info, r.edge_instance) AS moved,
            CASE WHEN w.dialog_id IS NULL AND p_max_watchers > 0 THEN (
                SELECT s.watchers FROM presentity_state AS s
                WHERE s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = r.event
            ) END AS watchers,
            CASE WHEN w.dialog_id IS NULL AND p_max_subscriptions > 0 AND r.expires > 0 AND NOT r.in_dialog THEN (
                SELECT count(*) FILTER (WHERE o.ended IS NULL) FROM active_watchers AS o
                WHERE o.watcher_username = r.watcher_username AND o.watcher_domain = r.watcher_domain
            ) END AS subscriptions,
            -- As in `replaced` below.
            CASE WHEN w.dialog_id IS NULL AND (p_max_watchers > 0 OR p_max_subscriptions > 0) AND r.expires > 0
                AND NOT r.in_dialog
            THEN (
                SELECT count(*) FILTER (WHERE CASE
                    WHEN o.ended IS NOT NULL OR o.event <> r.event OR o.event_id <> r.event_id THEN false
                    WHEN o.status = 4 THEN true
                    WHEN o.callid = r.callid AND o.from_tag = r.from_tag THEN o.remote_cseq < r.cseq
                    ELSE o.sip_instance = r.sip_instance AND r.sip_instance <> ''
                END)
                FROM active_watchers AS o
                WHERE o.watcher_username = r.watcher_username AND o.watcher_domain = r.watcher_domain
                    AND o.presentity_uri = r.uri
            ) END AS replaces,
            CASE
                WHEN w.dialog_id IS NULL AND r.in_dialog THEN 'unmatched'
                WHEN w.dialog_id IS NULL AND r.expires = 0 THEN 'fetched'
                WHEN w.dialog_id IS NULL THEN 'created'
                WHEN w.callid <> r.callid OR w.from_tag <> r.from_tag THEN 'unmatched'
                WHEN r.proved AND (w.watcher_username, w.watcher_domain)
                    <> (r.watcher_username, r.watcher_domain) THEN 'not_yours'
                WHEN w.last_key = r.key THEN 'replayed'
                WHEN NOT r.in_dialog THEN 'late'
                WHEN w.ended IS NOT NULL OR w.expires <= v_now OR w.status = 4 THEN 'unmatched'
                WHEN w.event <> r.asked_event OR w.event_id <> r.event_id THEN 'other_usage'
                WHEN r.cseq <= w.remote_cseq - p_cseq_offset THEN 'out_of_order'
                WHEN NOT r.apply THEN 'withheld'
                WHEN r.expires = 0 THEN 'ended'
                ELSE 'refreshed'
            END AS alone
        FROM request AS r
        LEFT JOIN active_watchers AS w ON w.presentity_hash = r.hash AND w.dialog_id = r.dialog
    ),
    -- The new dialogs of one batch count for each other, and each has the places of those that it replaces.
    fitting AS (
        SELECT f.*, CASE
            WHEN f.alone = 'created' AND p_max_watchers > 0 AND p_max_watchers < f.watchers
                + sum(1 - f.replaces) OVER (PARTITION BY f.hash, f.uri, f.event, f.alone ORDER BY f.ordinal)
            THEN 'too_many_watchers' ELSE f.alone END AS fits
        FROM found AS f
    ),
    judged AS MATERIALIZED (
        SELECT f.*, CASE
            WHEN f.fits = 'created' AND p_max_subscriptions > 0 AND p_max_subscriptions < f.subscriptions
                + sum(1 - f.replaces)
                    OVER (PARTITION BY f.watcher_username, f.watcher_domain, f.fits ORDER BY f.ordinal)
            THEN 'too_many_subscriptions' ELSE f.fits END AS verdict
        FROM fitting AS f
    ),
    -- Dialogs that end because a new one takes their place.
    replaced AS (
        UPDATE active_watchers AS w
        SET status = 3, reason = 'giveup', status_event = 'giveup', changed = nextval('presentity_version'),
            ended = v_now, revision = w.revision + 1
        FROM judged AS j
        WHERE j.verdict = 'created' AND w.watcher_username = j.watcher_username
            AND w.watcher_domain = j.watcher_domain AND w.presentity_uri = j.uri AND w.event = j.event
            AND w.event_id = j.event_id AND w.dialog_id <> j.dialog
            AND CASE
                WHEN w.ended IS NOT NULL THEN false
                WHEN w.status = 4 THEN true
                WHEN w.callid = j.callid AND w.from_tag = j.from_tag THEN w.remote_cseq < j.cseq
                ELSE w.sip_instance = j.sip_instance AND j.sip_instance <> ''
            END
            AND NOT EXISTS (SELECT FROM judged AS k WHERE k.hash = w.presentity_hash AND k.dialog = w.dialog_id)
        RETURNING w.presentity_hash AS hash, w.dialog_id, w.presentity_uri AS uri, w.event
    ),
    forgotten AS (
        DELETE FROM delivery AS d
        USING replaced AS r
        WHERE d.presentity_hash = r.hash AND d.dialog_id = r.dialog_id
    ),
    counted AS (
        SELECT c.hash, c.uri, c.event, sum(c.difference) AS difference, bool_or(c.shown) AS shown
        FROM (
            SELECT j.hash, j.uri, j.event, CASE WHEN j.verdict = 'created' THEN 1
                WHEN j.verdict = 'ended' AND NOT j.waits THEN -1 ELSE 0 END AS difference,
                j.verdict <> 'fetched' AS shown
            FROM judged AS j
            WHERE j.verdict IN ('created', 'fetched', 'ended')
            UNION ALL
            SELECT r.hash, r.uri, r.event, -1, true FROM replaced AS r
            UNION ALL
            -- The row of the base event stays as long as there are dialogs that show its watchers.
            SELECT j.hash, j.uri, base_event_v1(j.event), 0, false
            FROM judged AS j
            WHERE j.verdict IN ('created', 'fetched') AND j.event LIKE '%.winfo'
        ) AS c
        GROUP BY c.hash, c.uri, c.event
    ),
    versioned AS (
        UPDATE presentity_state AS s
        SET version = CASE s.version WHEN 0 THEN nextval('presentity_version') ELSE s.version END,
            watchers = s.watchers + c.difference
        FROM counted AS c
        WHERE s.presentity_hash = c.hash AND s.presentity_uri = c.uri AND s.event = c.event
            AND (c.difference <> 0 OR s.version = 0)
    ),
    -- Whoever watches the watchers: without their row's lock, which the hot path does not take; the claim has it.
    witnessed AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump)
        SELECT c.hash, c.uri, c.event || '.winfo', v_now, true
        FROM counted AS c
        JOIN presentity_state AS s
            ON s.presentity_hash = c.hash AND s.presentity_uri = c.uri AND s.event = c.event || '.winfo'
        WHERE c.shown AND s.watchers > 0
    ),
    created AS (
        INSERT INTO active_watchers (presentity_hash, dialog_id, presentity_uri, event, event_id, watcher_username,
            watcher_domain, callid, to_tag, from_tag, to_uri, from_uri, remote_cseq, contact, record_route,
            local_contact, accept, user_agent, sip_instance, expires, status, reason, changed, edge_instance,
            edge_address, socket_info, revision, last_key, granted, created, ended)
        SELECT j.hash, j.dialog, j.uri, j.event, j.event_id, j.watcher_username, j.watcher_domain, j.callid,
            j.to_tag, j.from_tag, j.to_uri, j.from_uri, j.cseq, j.contact, j.record_route, j.local_contact,
            j.accept, j.user_agent, j.sip_instance, v_now + make_interval(secs => j.kept),
            CASE j.verdict WHEN 'fetched' THEN 3 ELSE 1 END, CASE j.verdict WHEN 'fetched' THEN 'timeout' ELSE '' END,
            CASE j.verdict WHEN 'fetched' THEN 0 ELSE nextval('presentity_version') END,
            j.edge_instance, j.edge_address, j.socket_info, 1, j.key, j.expires, v_now,
            CASE j.verdict WHEN 'fetched' THEN v_now END
        FROM judged AS j
        WHERE j.verdict IN ('created', 'fetched')
    ),
    owed AS (
        INSERT INTO delivery (presentity_hash, dialog_id, presentity_uri, event, status, revision, local_cseq,
            version, sent_version, acked_version, edge_instance, transport)
        SELECT j.hash, j.dialog, j.uri, j.event, CASE j.verdict WHEN 'fetched' THEN 3 ELSE 1 END, 1, 0, -1, 0,
            -- What had ended before is never shown.
            CASE WHEN j.event LIKE '%.winfo' THEN nextval('presentity_version') ELSE 0 END,
            j.edge_instance, j.transport
        FROM judged AS j
        WHERE j.verdict IN ('created', 'fetched')
    ),
    changed AS (
        UPDATE active_watchers AS w
        SET remote_cseq = greatest(j.cseq, w.remote_cseq), contact = j.contact, local_contact = j.local_contact, accept = j.accept,
            user_agent = j.user_agent, sip_instance = j.sip_instance,
            expires = v_now + CASE WHEN j.verdict = 'ended' AND j.waits THEN p_waiting
                ELSE make_interval(secs => j.kept) END,
            status = CASE WHEN j.verdict <> 'ended' THEN w.status WHEN j.waits THEN 4 ELSE 3 END,
            reason = CASE j.verdict WHEN 'ended' THEN 'timeout' ELSE w.reason END,
            status_event = CASE j.verdict WHEN 'ended' THEN 'timeout' ELSE w.status_event END,
            changed = CASE j.verdict WHEN 'ended' THEN nextval('presentity_version') ELSE w.changed END,
            edge_instance = j.edge_instance, edge_address = j.edge_address, socket_info = j.socket_info,
            revision = w.revision + 1, last_key = j.key, granted = j.expires,
            ended = CASE WHEN j.verdict = 'ended' AND NOT j.waits THEN v_now END
        FROM judged AS j
        WHERE w.presentity_hash = j.hash AND w.dialog_id = j.dialog AND j.verdict IN ('refreshed', 'ended')
    ),
    renewed AS (
        -- What was outstanding on another flow is given up: the watcher has moved.
        UPDATE delivery AS d
        SET status = CASE j.verdict WHEN 'ended' THEN 3 ELSE d.status END, revision = j.held_revision + 1,
            sent_version = 0, failures = 0, edge_instance = j.edge_instance, transport = j.transport,
            not_before = NULL,
            outstanding_cseq = CASE WHEN j.moved THEN NULL ELSE d.outstanding_cseq END
        FROM judged AS j
        WHERE d.presentity_hash = j.hash AND d.dialog_id = j.dialog AND j.verdict IN ('refreshed', 'ended')
    ),
    told AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT j.hash, j.uri, j.event, j.dialog, v_now
        FROM judged AS j
        WHERE j.verdict IN ('created', 'fetched', 'refreshed', 'ended')
    )
    SELECT j.ordinal,
        CASE j.verdict WHEN 'late' THEN 'replayed' ELSE j.verdict END,
        CASE j.verdict WHEN 'replayed' THEN j.held_granted ELSE j.expires END,
        CASE WHEN j.verdict IN ('created', 'fetched') THEN 1 ELSE j.held_revision + 1 END,
        j.uri, j.event, coalesce(j.held_event_id, j.event_id), coalesce(j.held_to_uri, j.to_uri),
        coalesce(j.held_from_uri, j.from_uri), coalesce(j.held_record_route, j.record_route),
        CASE WHEN j.verdict IN ('fetched', 'ended') THEN 3 ELSE coalesce(j.held_status, 1) END::int2,
        CASE WHEN j.verdict IN ('fetched', 'ended') THEN 'timeout' ELSE coalesce(j.held_reason, '') END,
        v_now + make_interval(secs => j.kept), v_now
    FROM judged AS j;

    -- A refused request leaves nothing behind, not even the row it locked.
    DELETE FROM presentity_state AS s
    USING unnest(p_hash, v_uri, v_event) AS r (hash, uri, event)
    CROSS JOIN LATERAL (VALUES (r.event), (base_event_v1(r.event))) AS e (event)
    WHERE s.version = 0 AND s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = e.event;
END
$$;
