-- Who may see what (RFC 4745, RFC 5025): rules, decisions about watchers, and what follows from them.

-- Documents with rules. Columns as OpenSIPS and Kamailio have them, besides what the presentity is found by.
CREATE TABLE xcap (
    presentity_hash int4 NOT NULL,
    presentity_uri  text COLLATE "C" NOT NULL,
    -- The event whose watchers the rules are about.
    event           text COLLATE "C" NOT NULL,
    username        text NOT NULL,
    domain          text NOT NULL,
    doc             bytea NOT NULL,
    -- 2: pres-rules
    doc_type        int4 NOT NULL,
    etag            text NOT NULL,
    source          int4 NOT NULL DEFAULT 0,
    doc_uri         text COLLATE "C" NOT NULL,
    port            int4 NOT NULL DEFAULT 0,
    -- Whether a rule asks for the sphere of the presentity.
    by_sphere       bool NOT NULL DEFAULT false,
    changed         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (presentity_hash, presentity_uri, event, doc_uri)
);

-- One row for each presentity and event that has, or lately had, documents or decisions made by hand.
CREATE TABLE watcher_rules (
    presentity_hash int4 NOT NULL,
    presentity_uri  text COLLATE "C" NOT NULL,
    event           text COLLATE "C" NOT NULL,
    -- From presentity_version, under the presentity's lock, at each change of what is said here.
    version         int8 NOT NULL,
    by_sphere       bool NOT NULL DEFAULT false,
    -- Whoever was sent something before this version of the presentity is to be judged again, also who is pending.
    judged          int8 NOT NULL,
    -- When a rule begins or ceases to be valid, as far as it matters to a watcher that is there.
    due             timestamptz,
    changed         timestamptz NOT NULL,
    PRIMARY KEY (presentity_hash, presentity_uri, event)
) WITH (fillfactor = 70);
CREATE INDEX watcher_rules_due ON watcher_rules (due) WHERE due IS NOT NULL;

-- Made by a person, not by rules; it stays until a person changes it.
ALTER TABLE watchers ADD COLUMN by_hand bool NOT NULL DEFAULT false;
CREATE INDEX watchers_inserted ON watchers (inserted_time) WHERE NOT by_hand;

-- Apply a batch of planned SUBSCRIBE requests (RFC 6665 section 4.2.1), each dialog at most once.
--
-- In    arrays, one element for each request: the presentity's hash and, for an initial request, its URI (NULL: the
--       request is in a dialog, which knows it); event and id; the request's key; the dialog's id and whether the
--       request is in it; Call-ID, tags, CSeq; expires in seconds; who watches; To and From values without tags;
--       Contact, Record-Route, our Contact, media type chosen by Accept, User-Agent, +sip.instance; the flow; apply
--       false: the request has another fault, which counts only if its dialog is there; proved: it is known who
--       watches, and a dialog of another watcher is not his; how far a CSeq may be behind;
--       seconds that a dialog outlives what is told; how many dialogs a presentity and a watcher may have (0: any);
--       how long one that ends while it is pending waits for a decision; what was decided about the watcher of a new
--       dialog, as status and reason of the dialog (1 active, 2 pending, 3 not let in), and the version of the rules that
--       say so (0: there are none)
-- Out   one row for each request: verdict 'created' 'fetched' 'waited' (fetched, and shown as waiting) 'refreshed'
--       'ended' 'replayed' 'unmatched' (481) 'unjudged' (the rules are others: ask again) 'blocked' (403)
--       'not_yours' 'other_usage' (403) 'out_of_order' (500) 'too_many_watchers' 'too_many_subscriptions' (403) or 'withheld'
--       (matched, not applied); granted seconds; for a dialog that was written, its row as it is now, as far as the
--       caller does not know it
-- Pre   A new dialog ends, without a word, those that its watcher has lost: with the same +sip.instance, or with the
--       same Call-ID and From tag and a lower CSeq. Copies of a forked request have one CSeq and end nothing.
--       It also ends those of its watcher that wait (RFC 3857 section 4.7.1), and so does one that waits itself.
--       A decision is committed with its dialog, under the lock that whoever changes the rules takes first. What came
--       of no rule and lets the watcher in is not noted: it costs nothing.
-- Locks presentity_state in key order, then active_watchers, delivery, watchers. A request for watcher information takes the row
--       of its base event, too, which is made where it is missing: no change of the watchers slips by.
CREATE FUNCTION subscribe_batch_v2(
    p_hash int4[], p_uri text[], p_event text[], p_event_id text[], p_key bytea[], p_dialog bytea[],
    p_in_dialog bool[], p_callid text[], p_to_tag text[], p_from_tag text[], p_cseq int4[], p_expires int4[],
    p_watcher_username text[], p_watcher_domain text[], p_to_uri text[], p_from_uri text[], p_contact text[],
    p_record_route text[], p_local_contact text[], p_accept text[], p_user_agent text[], p_sip_instance text[],
    p_edge_instance text[], p_edge_address text[], p_socket_info text[], p_transport text[],
    p_apply bool[], p_proved bool[], p_cseq_offset int4, p_expires_offset int4, p_max_watchers int4, p_max_subscriptions int4,
    p_waiting interval, p_status int2[], p_reason text[], p_rules int8[]
) RETURNS TABLE (
    ordinal int8, verdict text, granted int4, revision int4, presentity_uri text, event text, event_id text,
    to_uri text, from_uri text, record_route text, watcher_username text, watcher_domain text, status int2,
    reason text, expires timestamptz, at timestamptz
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
                    p_edge_instance, p_edge_address, p_socket_info, p_transport, p_apply, p_proved, p_status,
                    p_reason, p_rules)
            WITH ORDINALITY AS r (hash, uri, event, asked_event, event_id, key, dialog, in_dialog, callid, to_tag,
                    from_tag, cseq, expires, watcher_username, watcher_domain, to_uri, from_uri, contact,
                    record_route, local_contact, accept, user_agent, sip_instance, edge_instance, edge_address,
                    socket_info, transport, apply, proved, decided, because, rules, ordinal)
    ),
    found AS MATERIALIZED (
        SELECT r.*, CASE r.expires WHEN 0 THEN 0 ELSE r.expires + p_expires_offset END AS kept,
            w.granted AS held_granted, w.revision AS held_revision, w.event_id AS held_event_id,
            w.watcher_username AS held_username, w.watcher_domain AS held_domain, w.to_uri AS held_to_uri, w.from_uri AS held_from_uri, w.record_route AS held_record_route,
            w.status AS held_status, w.reason AS held_reason,
            w.status = 2 AND p_waiting > interval '0' AS waits,
            (w.socket_info, w.edge_instance) IS DISTINCT FROM (r.socket_info, r.edge_instance) AS moved,
            CASE WHEN w.dialog_id IS NULL AND p_max_watchers > 0 THEN (
                SELECT s.watchers FROM presentity_state AS s
                WHERE s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = r.event
            ) END AS watchers,
            CASE WHEN w.dialog_id IS NULL AND p_max_subscriptions > 0 AND (r.expires > 0 OR r.decided = 2)
                AND NOT r.in_dialog
            THEN (
                SELECT count(*) FILTER (WHERE o.ended IS NULL) FROM active_watchers AS o
                WHERE o.watcher_username = r.watcher_username AND o.watcher_domain = r.watcher_domain
            ) END AS subscriptions,
            -- As in `replaced` below.
            CASE WHEN w.dialog_id IS NULL AND (p_max_watchers > 0 OR p_max_subscriptions > 0)
                AND (r.expires > 0 OR r.decided = 2) AND NOT r.in_dialog
            THEN (
                SELECT count(*) FILTER (WHERE CASE
                    WHEN o.ended IS NOT NULL OR o.event <> r.event OR o.event_id <> r.event_id THEN false
                    WHEN o.status = 4 THEN true
                    WHEN r.expires = 0 THEN false
                    WHEN o.callid = r.callid AND o.from_tag = r.from_tag THEN o.remote_cseq < r.cseq
                    ELSE o.sip_instance = r.sip_instance AND r.sip_instance <> ''
                END)
                FROM active_watchers AS o
                WHERE o.watcher_username = r.watcher_username AND o.watcher_domain = r.watcher_domain
                    AND o.presentity_uri = r.uri
            ) END AS replaces,
            CASE
                WHEN w.dialog_id IS NULL AND r.in_dialog THEN 'unmatched'
                WHEN w.dialog_id IS NULL AND r.rules <> coalesce((
                    SELECT a.version FROM watcher_rules AS a
                    WHERE a.presentity_hash = r.hash AND a.presentity_uri = r.uri AND a.event = r.event
                ), 0) THEN 'unjudged'
                WHEN w.dialog_id IS NULL AND r.decided = 3 THEN 'blocked'
                WHEN w.dialog_id IS NULL AND r.expires = 0 THEN
                    CASE WHEN r.decided = 2 AND p_waiting > interval '0' THEN 'waited' ELSE 'fetched' END
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
            THEN 'too_many_watchers'
            WHEN f.alone = 'waited' AND p_max_watchers > 0 AND p_max_watchers < f.watchers
                + sum(1 - f.replaces) OVER (PARTITION BY f.hash, f.uri, f.event, f.alone ORDER BY f.ordinal)
            THEN 'fetched' ELSE f.alone END AS fits
        FROM found AS f
    ),
    judged AS MATERIALIZED (
        SELECT f.*, CASE
            WHEN f.fits = 'created' AND p_max_subscriptions > 0 AND p_max_subscriptions < f.subscriptions
                + sum(1 - f.replaces)
                    OVER (PARTITION BY f.watcher_username, f.watcher_domain, f.fits ORDER BY f.ordinal)
            THEN 'too_many_subscriptions'
            WHEN f.fits = 'waited' AND p_max_subscriptions > 0 AND p_max_subscriptions < f.subscriptions
                + sum(1 - f.replaces)
                    OVER (PARTITION BY f.watcher_username, f.watcher_domain, f.fits ORDER BY f.ordinal)
            THEN 'fetched' ELSE f.fits END AS verdict
        FROM fitting AS f
    ),
    -- Dialogs that end because a new one takes their place.
    replaced AS (
        UPDATE active_watchers AS w
        SET status = 3, reason = 'giveup', status_event = 'giveup', changed = nextval('presentity_version'),
            ended = v_now, revision = w.revision + 1
        FROM judged AS j
        WHERE j.verdict IN ('created', 'waited') AND w.watcher_username = j.watcher_username
            AND w.watcher_domain = j.watcher_domain AND w.presentity_uri = j.uri AND w.event = j.event
            AND w.event_id = j.event_id AND w.dialog_id <> j.dialog
            AND CASE
                WHEN w.ended IS NOT NULL THEN false
                WHEN w.status = 4 THEN true
                WHEN j.verdict = 'waited' THEN false
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
            SELECT j.hash, j.uri, j.event, CASE WHEN j.verdict IN ('created', 'waited') THEN 1
                WHEN j.verdict = 'ended' AND NOT j.waits THEN -1 ELSE 0 END AS difference,
                j.verdict <> 'fetched' AS shown
            FROM judged AS j
            WHERE j.verdict IN ('created', 'fetched', 'waited', 'ended')
            UNION ALL
            SELECT r.hash, r.uri, r.event, -1, true FROM replaced AS r
            UNION ALL
            -- The row of the base event stays as long as there are dialogs that show its watchers.
            SELECT j.hash, j.uri, base_event_v1(j.event), 0, false
            FROM judged AS j
            WHERE j.verdict IN ('created', 'fetched', 'waited') AND j.event LIKE '%.winfo'
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
            local_contact, accept, user_agent, sip_instance, expires, status, reason, status_event, changed, edge_instance,
            edge_address, socket_info, revision, last_key, granted, created, ended)
        SELECT j.hash, j.dialog, j.uri, j.event, j.event_id, j.watcher_username, j.watcher_domain, j.callid,
            j.to_tag, j.from_tag, j.to_uri, j.from_uri, j.cseq, j.contact, j.record_route, j.local_contact,
            j.accept, j.user_agent, j.sip_instance,
            v_now + CASE j.verdict WHEN 'waited' THEN p_waiting ELSE make_interval(secs => j.kept) END,
            CASE j.verdict WHEN 'fetched' THEN 3 WHEN 'waited' THEN 4 ELSE j.decided END,
            CASE WHEN j.verdict IN ('fetched', 'waited') THEN 'timeout' ELSE j.because END,
            CASE j.verdict WHEN 'waited' THEN 'timeout' ELSE 'subscribe' END,
            CASE j.verdict WHEN 'fetched' THEN 0 ELSE nextval('presentity_version') END,
            j.edge_instance, j.edge_address, j.socket_info, 1, j.key, j.expires, v_now,
            CASE j.verdict WHEN 'fetched' THEN v_now END
        FROM judged AS j
        WHERE j.verdict IN ('created', 'fetched', 'waited')
    ),
    owed AS (
        INSERT INTO delivery (presentity_hash, dialog_id, presentity_uri, event, status, revision, local_cseq,
            version, sent_version, acked_version, edge_instance, transport)
        SELECT j.hash, j.dialog, j.uri, j.event, CASE j.verdict WHEN 'created' THEN j.decided ELSE 3 END, 1, 0, -1, 0,
            -- What had ended before is never shown.
            CASE WHEN j.event LIKE '%.winfo' THEN nextval('presentity_version') ELSE 0 END,
            j.edge_instance, j.transport
        FROM judged AS j
        WHERE j.verdict IN ('created', 'fetched', 'waited')
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
        WHERE j.verdict IN ('created', 'fetched', 'waited', 'refreshed', 'ended')
    ),
    noted AS (
        INSERT INTO watchers AS k (presentity_hash, presentity_uri, watcher_username, watcher_domain, event, status, reason,
            inserted_time)
        SELECT DISTINCT ON (j.hash, j.uri, j.event, j.watcher_username, j.watcher_domain)
            j.hash, j.uri, j.watcher_username, j.watcher_domain, j.event, j.decided, j.because, v_now
        FROM judged AS j
        WHERE (j.decided = 2 OR j.rules > 0) AND CASE
            WHEN j.verdict IN ('created', 'fetched', 'waited') THEN true
            -- Whoever is refused leaves little behind, whatever names he gives himself.
            WHEN j.verdict = 'blocked' THEN 1000 > (
                SELECT count(*) FROM (
                    SELECT FROM watchers AS o
                    WHERE o.presentity_hash = j.hash AND o.presentity_uri = j.uri AND o.event = j.event
                    LIMIT 1000
                ) AS o
            )
            ELSE false
        END
        ORDER BY j.hash, j.uri, j.event, j.watcher_username, j.watcher_domain, j.ordinal DESC
        ON CONFLICT (presentity_hash, presentity_uri, event, watcher_username, watcher_domain) DO UPDATE
        SET status = excluded.status, reason = excluded.reason, inserted_time = excluded.inserted_time
        WHERE NOT k.by_hand AND (k.status, k.reason) IS DISTINCT FROM (excluded.status, excluded.reason)
    )
    SELECT j.ordinal,
        CASE j.verdict WHEN 'late' THEN 'replayed' ELSE j.verdict END,
        CASE j.verdict WHEN 'replayed' THEN j.held_granted ELSE j.expires END,
        CASE WHEN j.verdict IN ('created', 'fetched', 'waited') THEN 1 ELSE j.held_revision + 1 END,
        j.uri, j.event, coalesce(j.held_event_id, j.event_id), coalesce(j.held_to_uri, j.to_uri),
        coalesce(j.held_from_uri, j.from_uri), coalesce(j.held_record_route, j.record_route),
        coalesce(j.held_username, j.watcher_username), coalesce(j.held_domain, j.watcher_domain),
        CASE WHEN j.verdict IN ('fetched', 'waited', 'ended') THEN 3 ELSE coalesce(j.held_status, j.decided) END::int2,
        CASE WHEN j.verdict IN ('fetched', 'waited', 'ended') THEN 'timeout' ELSE coalesce(j.held_reason, j.because) END,
        v_now + make_interval(secs => j.kept), v_now
    FROM judged AS j;

    -- A refused request leaves nothing behind, not even the row it locked.
    DELETE FROM presentity_state AS s
    USING unnest(p_hash, v_uri, v_event) AS r (hash, uri, event)
    CROSS JOIN LATERAL (VALUES (r.event), (base_event_v1(r.event))) AS e (event)
    WHERE s.version = 0 AND s.presentity_hash = r.hash AND s.presentity_uri = r.uri AND s.event = e.event;
END
$$;

-- Carry out what was decided, as a NOTIFY was to be composed, about watchers that were let in otherwise before.
--
-- In    arrays: the dialog and the CSeq that its NOTIFY was claimed with; the version of the rules that were judged by;
--       the new status and reason (1 active, 2 pending, 3 ended)
-- Out   how many dialogs owe a NOTIFY now
-- Pre   The claimed NOTIFY never left the notifier: its CSeq and document version are given back.
--       Where the rules have become others meanwhile nothing is decided: the dialog is claimed and judged anew.
-- Locks presentity_state in key order, then delivery, active_watchers, watchers
CREATE FUNCTION decide_watchers_v1(
    p_hash int4[], p_dialog bytea[], p_cseq int4[], p_rules int8[], p_status int2[], p_reason text[]
) RETURNS int4 LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    v_owed int4;
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

    WITH decided AS MATERIALIZED (
        SELECT d.presentity_hash, d.dialog_id, d.presentity_uri, d.event, o.status, o.reason, w.status AS was,
            w.watcher_username, w.watcher_domain, w.revision,
            w.status <> o.status AS becomes,
            d.status <> 3 AND w.ended IS NULL AND w.status IN (1, 2)
                AND (w.status, w.reason) IS DISTINCT FROM (o.status, o.reason) AND o.rules = coalesce((
                SELECT a.version FROM watcher_rules AS a
                WHERE a.presentity_hash = d.presentity_hash AND a.presentity_uri = d.presentity_uri AND a.event = d.event
            ), 0) AS holds
        FROM unnest(p_hash, p_dialog, p_cseq, p_rules, p_status, p_reason)
            AS o (hash, dialog, cseq, rules, status, reason)
        JOIN delivery AS d
            ON d.presentity_hash = o.hash AND d.dialog_id = o.dialog AND d.outstanding_cseq = o.cseq
        JOIN active_watchers AS w ON w.presentity_hash = d.presentity_hash AND w.dialog_id = d.dialog_id
    ),
    cleared AS (
        UPDATE delivery AS d
        SET outstanding_cseq = NULL, outstanding_notifier = NULL, outstanding_until = NULL, acked_digest = NULL,
            local_cseq = d.local_cseq - 1, version = d.version - 1, sent_version = 0,
            status = CASE WHEN o.holds THEN o.status ELSE d.status END,
            revision = CASE WHEN o.holds THEN o.revision + 1 ELSE d.revision END
        FROM decided AS o
        WHERE d.presentity_hash = o.presentity_hash AND d.dialog_id = o.dialog_id
    ),
    changed AS (
        UPDATE active_watchers AS w
        SET status = o.status, reason = o.reason, revision = o.revision + 1,
            changed = CASE WHEN o.becomes THEN nextval('presentity_version') ELSE w.changed END,
            status_event = CASE
                WHEN NOT o.becomes THEN w.status_event
                WHEN o.status = 1 THEN 'approved'
                WHEN o.status = 3 THEN 'rejected'
                ELSE 'subscribe'
            END,
            ended = CASE o.status WHEN 3 THEN v_now END
        FROM decided AS o
        WHERE o.holds AND w.presentity_hash = o.presentity_hash AND w.dialog_id = o.dialog_id
    ),
    counted AS (
        UPDATE presentity_state AS s
        SET watchers = s.watchers - c.ended
        FROM (
            SELECT o.presentity_hash, o.presentity_uri, o.event, count(*) AS ended
            FROM decided AS o
            WHERE o.holds AND o.status = 3
            GROUP BY o.presentity_hash, o.presentity_uri, o.event
        ) AS c
        WHERE s.presentity_hash = c.presentity_hash AND s.presentity_uri = c.presentity_uri AND s.event = c.event
    ),
    -- As in subscribe_batch_v2.
    witnessed AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump)
        SELECT DISTINCT s.presentity_hash, s.presentity_uri, s.event, v_now, true
        FROM decided AS o
        JOIN presentity_state AS s ON s.presentity_hash = o.presentity_hash
            AND s.presentity_uri = o.presentity_uri AND s.event = o.event || '.winfo'
        WHERE o.holds AND o.becomes AND s.watchers > 0
    ),
    told AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT o.presentity_hash, o.presentity_uri, o.event, o.dialog_id, v_now FROM decided AS o
    ),
    noted AS (
        INSERT INTO watchers AS k (presentity_hash, presentity_uri, watcher_username, watcher_domain, event, status, reason,
            inserted_time)
        SELECT DISTINCT ON (o.presentity_hash, o.presentity_uri, o.event, o.watcher_username, o.watcher_domain)
            o.presentity_hash, o.presentity_uri, o.watcher_username, o.watcher_domain, o.event, o.status, o.reason, v_now
        FROM decided AS o
        WHERE o.holds
        ORDER BY o.presentity_hash, o.presentity_uri, o.event, o.watcher_username, o.watcher_domain
        ON CONFLICT (presentity_hash, presentity_uri, event, watcher_username, watcher_domain) DO UPDATE
        SET status = excluded.status, reason = excluded.reason, inserted_time = excluded.inserted_time
        WHERE NOT k.by_hand
    )
    SELECT count(*) INTO v_owed FROM decided AS o;
    RETURN v_owed;
END
$$;

-- Take the lock of a presentity that may be unknown yet. What was made for it goes with `rules_changed_v1`.
CREATE FUNCTION lock_presentity_v1(p_hash int4, p_uri text, p_event text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version)
    VALUES (p_hash, p_uri, p_event, 0)
    ON CONFLICT (presentity_hash, presentity_uri, event) DO UPDATE SET version = 0 WHERE false;
$$;

-- The rules of a presentity have changed: everybody is judged by the new ones from now on.
--
-- In    the presentity; for a decision about one watcher alone who that is (NULL: everybody)
-- Out   the version of the rules
-- Pre   The caller holds the presentity's lock. However many watchers there are, none is touched here: the new version
--       makes them owe a NOTIFY, and whoever composes that judges (`claim_notifies_v2`).
-- Locks watcher_rules; delivery of the one watcher
CREATE FUNCTION rules_changed_v1(
    p_hash int4, p_uri text, p_event text, p_watcher_username text, p_watcher_domain text
) RETURNS int8 LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_version int8 := nextval('presentity_version');
    v_elsewhere bool := (SELECT k.size > 0 FROM dialog_keeping AS k);
BEGIN
    INSERT INTO watcher_rules AS a (presentity_hash, presentity_uri, event, version, by_sphere, judged, due, changed)
    VALUES (p_hash, p_uri, p_event, v_version, coalesce((
        SELECT bool_or(x.by_sphere) FROM xcap AS x
        WHERE x.presentity_hash = p_hash AND x.presentity_uri = p_uri AND x.event = p_event
    ), false), v_version, NULL, v_now)
    ON CONFLICT (presentity_hash, presentity_uri, event) DO UPDATE
    SET version = excluded.version, by_sphere = excluded.by_sphere, judged = excluded.judged, changed = excluded.changed,
        due = CASE WHEN p_watcher_domain IS NULL THEN NULL ELSE a.due END;

    IF p_watcher_domain IS NULL OR v_elsewhere THEN
        UPDATE presentity_state AS s SET version = v_version
        WHERE s.presentity_hash = p_hash AND s.presentity_uri = p_uri AND s.event = p_event AND s.version > 0;
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due)
        SELECT p_hash, p_uri, p_event, v_now
        WHERE v_elsewhere OR EXISTS (
            SELECT FROM delivery AS d
            WHERE d.presentity_hash = p_hash AND d.presentity_uri = p_uri AND d.event = p_event
        );
    ELSE
        WITH theirs AS (
            SELECT w.dialog_id FROM active_watchers AS w
            WHERE w.watcher_username = p_watcher_username AND w.watcher_domain = p_watcher_domain
                AND w.presentity_uri = p_uri AND w.presentity_hash = p_hash
                AND CASE WHEN w.event = p_event THEN w.status IN (1, 2) AND w.ended IS NULL ELSE false END
        ),
        owed AS (
            -- Older than any version: owed, and not sent where it would bring nothing new.
            UPDATE delivery AS d SET sent_version = least(d.sent_version, 1)
            FROM theirs AS t
            WHERE d.presentity_hash = p_hash AND d.dialog_id = t.dialog_id
            RETURNING d.dialog_id
        )
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT p_hash, p_uri, p_event, o.dialog_id, v_now FROM owed AS o;
    END IF;

    DELETE FROM presentity_state AS s
    WHERE s.presentity_hash = p_hash AND s.presentity_uri = p_uri AND s.event = p_event AND s.version = 0;
    RETURN v_version;
END
$$;

-- Store a document with rules, or remove it.
--
-- In    the presentity and its names; the document (NULL: remove it), its entity tag, and whether it asks for the sphere;
--       the entity tag that the document has to have now (NULL: any or none; empty: it must not exist)
-- Out   'created' 'replaced' 'removed', 'absent' (nothing to remove), or 'unmatched' (another tag), and the tag that it
--       has now
-- Locks presentity_state, then xcap, watcher_rules
CREATE FUNCTION write_rules_v1(
    p_hash int4, p_uri text, p_event text, p_username text, p_domain text, p_doc_uri text, p_doc_type int4, p_doc bytea,
    p_etag text, p_by_sphere bool, p_if_match text
) RETURNS TABLE (verdict text, etag text) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_held text;
    v_verdict text;
BEGIN
    PERFORM lock_presentity_v1(p_hash, p_uri, p_event);
    SELECT x.etag INTO v_held FROM xcap AS x
    WHERE x.presentity_hash = p_hash AND x.presentity_uri = p_uri AND x.event = p_event AND x.doc_uri = p_doc_uri;
    v_verdict := CASE
        WHEN p_if_match IS NOT NULL AND coalesce(v_held, '') <> p_if_match THEN 'unmatched'
        WHEN p_doc IS NULL AND v_held IS NULL THEN 'absent'
        WHEN p_doc IS NULL THEN 'removed'
        WHEN v_held IS NULL THEN 'created'
        ELSE 'replaced'
    END;
    IF v_verdict IN ('unmatched', 'absent') THEN
        DELETE FROM presentity_state AS s
        WHERE s.presentity_hash = p_hash AND s.presentity_uri = p_uri AND s.event = p_event AND s.version = 0;
        RETURN QUERY SELECT v_verdict, v_held;
        RETURN;
    END IF;
    IF v_verdict = 'removed' THEN
        DELETE FROM xcap AS x
        WHERE x.presentity_hash = p_hash AND x.presentity_uri = p_uri AND x.event = p_event AND x.doc_uri = p_doc_uri;
    ELSE
        INSERT INTO xcap (presentity_hash, presentity_uri, event, username, domain, doc, doc_type, etag, doc_uri, by_sphere,
            changed)
        VALUES (p_hash, p_uri, p_event, p_username, p_domain, p_doc, p_doc_type, p_etag, p_doc_uri, p_by_sphere,
            clock_timestamp())
        ON CONFLICT (presentity_hash, presentity_uri, event, doc_uri) DO UPDATE
        SET doc = excluded.doc, doc_type = excluded.doc_type, etag = excluded.etag, by_sphere = excluded.by_sphere,
            changed = excluded.changed;
    END IF;
    PERFORM rules_changed_v1(p_hash, p_uri, p_event, NULL, NULL);
    RETURN QUERY SELECT v_verdict, CASE WHEN v_verdict <> 'removed' THEN p_etag END;
END
$$;

-- Decide about a watcher by hand, which goes before all rules, or leave it to the rules again.
--
-- In    the presentity; the watcher; status and reason as in `watchers` (1 active, 2 pending, 3 rejected; NULL: leave it
--       to the rules)
-- Out   whether anything changed
-- Pre   What waits for a decision has got one (RFC 3857 section 4.7.1).
-- Locks presentity_state, then watchers, active_watchers, watcher_rules, delivery
CREATE FUNCTION decide_by_hand_v1(
    p_hash int4, p_uri text, p_event text, p_watcher_username text, p_watcher_domain text, p_status int2, p_reason text
) RETURNS bool LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_now timestamptz;
    v_count int4;
BEGIN
    PERFORM lock_presentity_v1(p_hash, p_uri, p_event);
    v_now := clock_timestamp();
    IF p_status IS NULL THEN
        DELETE FROM watchers AS k
        WHERE k.presentity_hash = p_hash AND k.presentity_uri = p_uri AND k.event = p_event
            AND k.watcher_username = p_watcher_username AND k.watcher_domain = p_watcher_domain AND k.by_hand;
    ELSE
        INSERT INTO watchers AS k (presentity_hash, presentity_uri, watcher_username, watcher_domain, event, status, reason,
            inserted_time, by_hand)
        VALUES (p_hash, p_uri, p_watcher_username, p_watcher_domain, p_event, p_status, p_reason, v_now, true)
        ON CONFLICT (presentity_hash, presentity_uri, event, watcher_username, watcher_domain) DO UPDATE
        SET status = excluded.status, reason = excluded.reason, inserted_time = excluded.inserted_time, by_hand = true
        WHERE NOT k.by_hand OR (k.status, k.reason) IS DISTINCT FROM (excluded.status, excluded.reason);
    END IF;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count = 0 THEN
        DELETE FROM presentity_state AS s
        WHERE s.presentity_hash = p_hash AND s.presentity_uri = p_uri AND s.event = p_event AND s.version = 0;
        RETURN false;
    END IF;
    IF p_status IN (1, 3) THEN
        WITH met AS (
            UPDATE active_watchers AS w
            SET status = 3, status_event = CASE p_status WHEN 1 THEN 'approved' ELSE 'rejected' END, ended = v_now,
                changed = nextval('presentity_version'), revision = w.revision + 1
            WHERE w.watcher_username = p_watcher_username AND w.watcher_domain = p_watcher_domain
                AND w.presentity_uri = p_uri AND w.presentity_hash = p_hash
                AND CASE WHEN w.event = p_event THEN w.status = 4 AND w.ended IS NULL ELSE false END
            RETURNING w.dialog_id
        ),
        counted AS (
            UPDATE presentity_state AS s SET watchers = s.watchers - (SELECT count(*) FROM met)
            WHERE s.presentity_hash = p_hash AND s.presentity_uri = p_uri AND s.event = p_event
                AND EXISTS (SELECT FROM met)
        )
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump)
        SELECT s.presentity_hash, s.presentity_uri, s.event, v_now, true
        FROM presentity_state AS s
        WHERE s.presentity_hash = p_hash AND s.presentity_uri = p_uri AND s.event = p_event || '.winfo'
            AND s.watchers > 0 AND EXISTS (SELECT FROM met);
    END IF;
    PERFORM rules_changed_v1(p_hash, p_uri, p_event, p_watcher_username, p_watcher_domain);
    RETURN true;
END
$$;

-- The time of rules has begun or is over: everybody whom that may concern is judged again.
--
-- In    how many presentities at most
-- Out   how many there were
-- Locks presentity_state in key order (SKIP LOCKED: what is busy comes next time), then watcher_rules
CREATE FUNCTION judge_due_v1(p_limit int4) RETURNS int4 LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_found watcher_rules[];
    v_held presentity_state[];
BEGIN
    SELECT array_agg(f::watcher_rules) INTO v_found
    FROM (SELECT a.* FROM watcher_rules AS a WHERE a.due <= v_now ORDER BY a.due LIMIT p_limit) AS f;
    IF v_found IS NULL THEN
        RETURN 0;
    END IF;
    WITH held AS (
        SELECT s.*
        FROM presentity_state AS s
        JOIN unnest(v_found) AS f USING (presentity_hash, presentity_uri, event)
        ORDER BY s.presentity_hash, s.presentity_uri, s.event
        FOR NO KEY UPDATE OF s SKIP LOCKED
    )
    SELECT array_agg(h::presentity_state) INTO v_held FROM held AS h;

    WITH judged AS (
        UPDATE watcher_rules AS a
        SET judged = nextval('presentity_version'), due = NULL
        FROM unnest(v_held) AS h
        WHERE a.presentity_hash = h.presentity_hash AND a.presentity_uri = h.presentity_uri AND a.event = h.event
            AND a.due <= v_now
        RETURNING a.presentity_hash, a.presentity_uri, a.event, a.judged AS version
    ),
    raised AS (
        UPDATE presentity_state AS s SET version = j.version
        FROM judged AS j
        WHERE s.presentity_hash = j.presentity_hash AND s.presentity_uri = j.presentity_uri AND s.event = j.event
    )
    INSERT INTO change_event (presentity_hash, presentity_uri, event, due)
    SELECT j.presentity_hash, j.presentity_uri, j.event, v_now FROM judged AS j;

    -- Of these nobody is there any more whom it would concern.
    UPDATE watcher_rules AS a SET due = NULL
    FROM unnest(v_found) AS f
    WHERE a.presentity_hash = f.presentity_hash AND a.presentity_uri = f.presentity_uri AND a.event = f.event
        AND a.due <= v_now AND NOT EXISTS (
            SELECT FROM presentity_state AS s
            WHERE s.presentity_hash = f.presentity_hash AND s.presentity_uri = f.presentity_uri AND s.event = f.event
        );
    RETURN cardinality(v_found);
END
$$;

-- Forget decisions that rules made about watchers who are not there any more, and rules that were removed.
--
-- In    how old a decision is then; how many of each at most
-- Out   how many rows were removed; call again until it is 0
-- Locks watchers (SKIP LOCKED); watcher_rules (SKIP LOCKED)
CREATE FUNCTION sweep_watchers_v1(p_age interval, p_limit int4) RETURNS int4 LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_removed int4;
    v_count int4;
BEGIN
    DELETE FROM watchers AS k
    USING (
        SELECT o.presentity_hash, o.presentity_uri, o.event, o.watcher_username, o.watcher_domain
        FROM watchers AS o
        WHERE NOT o.by_hand AND o.inserted_time < v_now - p_age
            AND NOT EXISTS (
                SELECT FROM active_watchers AS w
                WHERE w.watcher_username = o.watcher_username AND w.watcher_domain = o.watcher_domain
                    AND w.presentity_uri = o.presentity_uri
                    AND CASE WHEN w.event = o.event THEN w.ended IS NULL AND w.status IN (1, 2) ELSE false END
            )
        ORDER BY o.inserted_time
        LIMIT p_limit
        FOR UPDATE OF o SKIP LOCKED
    ) AS o
    WHERE k.presentity_hash = o.presentity_hash AND k.presentity_uri = o.presentity_uri AND k.event = o.event
        AND k.watcher_username = o.watcher_username AND k.watcher_domain = o.watcher_domain AND NOT k.by_hand;
    GET DIAGNOSTICS v_removed = ROW_COUNT;

    DELETE FROM watcher_rules AS a
    USING (
        SELECT r.presentity_hash, r.presentity_uri, r.event
        FROM watcher_rules AS r
        WHERE r.changed < v_now - interval '1 day'
            AND NOT EXISTS (
                SELECT FROM xcap AS x
                WHERE x.presentity_hash = r.presentity_hash AND x.presentity_uri = r.presentity_uri AND x.event = r.event
            )
            AND NOT EXISTS (
                SELECT FROM watchers AS k
                WHERE k.presentity_hash = r.presentity_hash AND k.presentity_uri = r.presentity_uri AND k.event = r.event
                    AND k.by_hand
            )
        LIMIT p_limit
        FOR UPDATE OF r SKIP LOCKED
    ) AS r
    WHERE a.presentity_hash = r.presentity_hash AND a.presentity_uri = r.presentity_uri AND a.event = r.event;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_removed + v_count;
END
$$;

-- As claim_changes_v1, with the version of the rules of each presentity, and since which version of the presentity
-- those who are pending are to be judged again (0: not for a change).
CREATE FUNCTION claim_changes_v2(p_events int4, p_lease interval, p_hash int4[], p_uri text[], p_event text[])
RETURNS TABLE (
    id int8, presentity_hash int4, presentity_uri text, event text, version int8, dialog_id bytea,
    sender text, sender_before int8, sender_after int8, rules int8, judged int8
) LANGUAGE sql AS $$
    SELECT c.*, coalesce(a.version, 0), CASE WHEN a.by_sphere THEN c.version ELSE coalesce(a.judged, 0) END
    FROM claim_changes_v1(p_events, p_lease, p_hash, p_uri, p_event) AS c
    LEFT JOIN watcher_rules AS a USING (presentity_hash, presentity_uri, event);
$$;
