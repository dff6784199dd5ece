-- subscribe_batch_v2, which has the rules, in steps as publish_batch_v2: a step that no request of the batch needs is not
-- begun.
--
-- In, Locks as v2
-- Out   as v2, but of a dialog's row only what the caller does not know: of one that was made, its end.
--
-- Nobody else changes what is under the locks, so all steps see what the first one saw.
CREATE FUNCTION subscribe_batch_v3(
    p_hash int4[], p_uri text[], p_event text[], p_event_id text[], p_key bytea[], p_dialog bytea[],
    p_in_dialog bool[], p_callid text[], p_to_tag text[], p_from_tag text[], p_cseq int4[], p_expires int4[],
    p_watcher_username text[], p_watcher_domain text[], p_to_uri text[], p_from_uri text[], p_contact text[],
    p_record_route text[], p_local_contact text[], p_accept text[], p_user_agent text[], p_sip_instance text[],
    p_edge_instance text[], p_edge_address text[], p_socket_info text[], p_transport text[],
    p_apply bool[], p_proved bool[], p_cseq_offset int4, p_expires_offset int4, p_max_watchers int4, p_max_subscriptions int4,
    p_waiting interval, p_status int2[], p_reason text[], p_rules int8[]
) RETURNS TABLE (
    ordinal int4, verdict text, granted int4, expires timestamptz, revision int4, presentity_uri text, event text,
    event_id text, to_uri text, from_uri text, record_route text, watcher_username text, watcher_domain text, reason text
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz;
    -- One element for each request.
    v_uri text[];
    v_event text[];
    v_verdict text[];
    v_revision int4[];
    v_waits bool[];
    v_moved bool[];
    v_witnessed bool[];
    v_watchers int4[];
    v_subscriptions int8[];
    v_replaces int8[];
    -- Whether somebody watches the watchers of one, a dialog may be replaced, watcher information is asked for, a limit
    -- may be reached.
    v_tells bool;
    v_replaced bool;
    v_winfo bool;
    v_crowded bool;
    -- One element for each dialog that was replaced.
    v_old_hash int4[];
    v_old_uri text[];
    v_old_event text[];
BEGIN
    IF array_position(p_uri, NULL) IS NULL THEN
        v_uri := p_uri;
        v_event := p_event;
    ELSE
        -- The presentity of a dialog never changes, so it may be read before its lock is taken.
        SELECT array_agg(coalesce(p_uri[i], w.presentity_uri) ORDER BY i),
               array_agg(CASE WHEN p_uri[i] IS NULL THEN w.event ELSE p_event[i] END ORDER BY i)
        INTO v_uri, v_event
        FROM generate_subscripts(p_hash, 1) AS i
        LEFT JOIN active_watchers AS w
            ON p_uri[i] IS NULL AND w.presentity_hash = p_hash[i] AND w.dialog_id = p_dialog[i];
    END IF;

    INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version)
    SELECT DISTINCT p_hash[i], v_uri[i] COLLATE "C" AS uri, e.event COLLATE "C" AS event, 0
    FROM generate_subscripts(p_hash, 1) AS i
    CROSS JOIN LATERAL (VALUES (v_event[i]), (base_event_v1(v_event[i]))) AS e (event)
    WHERE v_uri[i] IS NOT NULL AND e.event IS NOT NULL
    ORDER BY 1, 2, 3
    ON CONFLICT (presentity_hash, presentity_uri, event) DO UPDATE SET version = 0 WHERE false;

    v_now := clock_timestamp();

    -- OFFSET 0: what one step has found is not looked for again in the next.
    SELECT array_agg(j.verdict), array_agg(j.revision), array_agg(j.waits), array_agg(j.moved), array_agg(j.witnessed),
        array_agg(j.watchers), array_agg(j.subscriptions), array_agg(j.replaces), bool_or(j.witnessed),
        bool_or(j.replaces > 0), bool_or(v_event[j.i] LIKE '%.winfo'),
        bool_or((p_max_watchers > 0 AND j.watchers + cardinality(p_hash) > p_max_watchers)
            OR (p_max_subscriptions > 0 AND j.subscriptions + cardinality(p_hash) > p_max_subscriptions))
    INTO v_verdict, v_revision, v_waits, v_moved, v_witnessed, v_watchers, v_subscriptions, v_replaces, v_tells,
        v_replaced, v_winfo, v_crowded
    FROM (
        SELECT j.*, s.watchers, s.witnessed, o.subscriptions, o.replaces
        FROM (
            SELECT i, w.revision, w.status = 2 AND p_waiting > interval '0' AS waits,
                (w.socket_info, w.edge_instance) IS DISTINCT FROM (p_socket_info[i], p_edge_instance[i]) AS moved,
                CASE
                    WHEN w.dialog_id IS NULL AND p_in_dialog[i] THEN 'unmatched'
                    WHEN w.dialog_id IS NULL AND p_rules[i] <> coalesce((
                        SELECT a.version FROM watcher_rules AS a
                        WHERE a.presentity_hash = p_hash[i] AND a.presentity_uri = v_uri[i] AND a.event = v_event[i]
                    ), 0) THEN 'unjudged'
                    WHEN w.dialog_id IS NULL AND p_status[i] = 3 THEN 'blocked'
                    WHEN w.dialog_id IS NULL AND p_expires[i] = 0 THEN
                        CASE WHEN p_status[i] = 2 AND p_waiting > interval '0' THEN 'waited' ELSE 'fetched' END
                    WHEN w.dialog_id IS NULL THEN 'created'
                    WHEN w.callid <> p_callid[i] OR w.from_tag <> p_from_tag[i] THEN 'unmatched'
                    WHEN p_proved[i] AND (w.watcher_username, w.watcher_domain)
                        <> (p_watcher_username[i], p_watcher_domain[i]) THEN 'not_yours'
                    WHEN w.last_key = p_key[i] THEN 'replayed'
                    WHEN NOT p_in_dialog[i] THEN 'late'
                    WHEN w.ended IS NOT NULL OR w.expires <= v_now OR w.status = 4 THEN 'unmatched'
                    WHEN w.event <> p_event[i] OR w.event_id <> p_event_id[i] THEN 'other_usage'
                    WHEN p_cseq[i] <= w.remote_cseq - p_cseq_offset THEN 'out_of_order'
                    WHEN NOT p_apply[i] THEN 'withheld'
                    WHEN p_expires[i] = 0 THEN 'ended'
                    ELSE 'refreshed'
                END AS verdict
            FROM generate_subscripts(p_hash, 1) AS i
            LEFT JOIN active_watchers AS w ON w.presentity_hash = p_hash[i] AND w.dialog_id = p_dialog[i]
            OFFSET 0
        ) AS j
        -- Whether somebody watches the watchers: without the lock of their row, which the hot path does not take; the
        -- claim has it.
        CROSS JOIN LATERAL (
            SELECT max(s.watchers) FILTER (WHERE s.event = v_event[j.i]) AS watchers,
                bool_or(s.event = v_event[j.i] || '.winfo' AND s.watchers > 0) AS witnessed
            FROM presentity_state AS s
            WHERE j.verdict IN ('created', 'waited', 'ended')
                AND s.presentity_hash = p_hash[j.i] AND s.presentity_uri = v_uri[j.i]
        ) AS s
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE o.ended IS NULL) AS subscriptions,
                -- As below, where they are replaced.
                count(*) FILTER (WHERE CASE
                    WHEN o.ended IS NOT NULL OR o.presentity_uri <> v_uri[j.i] OR o.event <> v_event[j.i]
                        OR o.event_id <> p_event_id[j.i] THEN false
                    WHEN o.status = 4 THEN true
                    WHEN j.verdict = 'waited' THEN false
                    WHEN o.callid = p_callid[j.i] AND o.from_tag = p_from_tag[j.i] THEN o.remote_cseq < p_cseq[j.i]
                    ELSE o.sip_instance = p_sip_instance[j.i] AND p_sip_instance[j.i] <> ''
                END) AS replaces
            FROM (
                SELECT w.ended, w.status, w.presentity_uri, w.event, w.event_id, w.callid, w.from_tag, w.remote_cseq,
                    w.sip_instance
                FROM active_watchers AS w
                WHERE p_max_subscriptions > 0 AND j.verdict IN ('created', 'waited')
                    AND w.watcher_username = p_watcher_username[j.i] AND w.watcher_domain = p_watcher_domain[j.i]
                UNION ALL
                SELECT w.ended, w.status, w.presentity_uri, w.event, w.event_id, w.callid, w.from_tag, w.remote_cseq,
                    w.sip_instance
                FROM active_watchers AS w
                WHERE p_max_subscriptions = 0 AND j.verdict IN ('created', 'waited')
                    AND w.watcher_username = p_watcher_username[j.i] AND w.watcher_domain = p_watcher_domain[j.i]
                    AND w.presentity_uri = v_uri[j.i]
            ) AS o
        ) AS o
        ORDER BY j.i
    ) AS j;

    IF v_crowded AND v_verdict && ARRAY['created', 'waited'] THEN
        -- The new dialogs of one batch count for each other, and each has the places of those that it replaces.
        SELECT array_agg(j.verdict ORDER BY j.i) INTO v_verdict
        FROM (
            SELECT j.i, CASE
                WHEN j.fits IN ('created', 'waited') AND p_max_subscriptions > 0 AND p_max_subscriptions
                    < v_subscriptions[j.i] + sum(1 - v_replaces[j.i])
                        OVER (PARTITION BY p_watcher_username[j.i], p_watcher_domain[j.i], j.fits ORDER BY j.i)
                THEN CASE j.fits WHEN 'created' THEN 'too_many_subscriptions' ELSE 'fetched' END
                ELSE j.fits END AS verdict
            FROM (
                SELECT i, CASE
                    WHEN v_verdict[i] IN ('created', 'waited') AND p_max_watchers > 0 AND p_max_watchers
                        < v_watchers[i] + sum(1 - v_replaces[i])
                            OVER (PARTITION BY p_hash[i], v_uri[i], v_event[i], v_verdict[i] ORDER BY i)
                    THEN CASE v_verdict[i] WHEN 'created' THEN 'too_many_watchers' ELSE 'fetched' END
                    ELSE v_verdict[i] END AS fits
                FROM generate_subscripts(p_hash, 1) AS i
            ) AS j
        ) AS j;
    END IF;

    IF v_replaced THEN
        -- Dialogs that end because a new one takes their place.
        WITH replaced AS (
            UPDATE active_watchers AS w
            SET status = 3, reason = 'giveup', status_event = 'giveup', changed = nextval('presentity_version'),
                ended = v_now, revision = w.revision + 1
            FROM generate_subscripts(p_hash, 1) AS i
            WHERE v_verdict[i] IN ('created', 'waited') AND w.watcher_username = p_watcher_username[i]
                AND w.watcher_domain = p_watcher_domain[i] AND w.presentity_uri = v_uri[i] AND w.event = v_event[i]
                AND w.event_id = p_event_id[i] AND w.dialog_id <> p_dialog[i]
                AND CASE
                    WHEN w.ended IS NOT NULL THEN false
                    WHEN w.status = 4 THEN true
                    WHEN v_verdict[i] = 'waited' THEN false
                    WHEN w.callid = p_callid[i] AND w.from_tag = p_from_tag[i] THEN w.remote_cseq < p_cseq[i]
                    ELSE w.sip_instance = p_sip_instance[i] AND p_sip_instance[i] <> ''
                END
                AND NOT EXISTS (
                    SELECT FROM generate_subscripts(p_hash, 1) AS k
                    WHERE p_hash[k] = w.presentity_hash AND p_dialog[k] = w.dialog_id
                )
            RETURNING w.presentity_hash AS hash, w.dialog_id, w.presentity_uri AS uri, w.event
        ),
        forgotten AS (
            DELETE FROM delivery AS d
            USING replaced AS r
            WHERE d.presentity_hash = r.hash AND d.dialog_id = r.dialog_id
        )
        SELECT array_agg(r.hash), array_agg(r.uri), array_agg(r.event) INTO v_old_hash, v_old_uri, v_old_event
        FROM replaced AS r;
    END IF;

    IF v_verdict && ARRAY['created', 'fetched', 'waited', 'ended'] THEN
        UPDATE presentity_state AS s
        SET version = CASE s.version WHEN 0 THEN nextval('presentity_version') ELSE s.version END,
            watchers = s.watchers + c.difference
        FROM (
            SELECT c.hash, c.uri, c.event, sum(c.difference) AS difference
            FROM (
                SELECT p_hash[i] AS hash, v_uri[i] AS uri, v_event[i] AS event,
                    CASE WHEN v_verdict[i] IN ('created', 'waited') THEN 1
                        WHEN v_verdict[i] = 'ended' AND NOT v_waits[i] THEN -1 ELSE 0 END AS difference
                FROM generate_subscripts(p_hash, 1) AS i
                WHERE v_verdict[i] IN ('created', 'fetched', 'waited', 'ended')
                UNION ALL
                SELECT v_old_hash[i], v_old_uri[i], v_old_event[i], -1
                FROM generate_subscripts(v_old_hash, 1) AS i
                UNION ALL
                -- The row of the base event stays as long as there are dialogs that show its watchers.
                SELECT p_hash[i], v_uri[i], base_event_v1(v_event[i]), 0
                FROM generate_subscripts(p_hash, 1) AS i
                WHERE v_winfo AND v_verdict[i] IN ('created', 'fetched', 'waited') AND v_event[i] LIKE '%.winfo'
            ) AS c
            GROUP BY c.hash, c.uri, c.event
        ) AS c
        WHERE s.presentity_hash = c.hash AND s.presentity_uri = c.uri AND s.event = c.event
            AND (c.difference <> 0 OR s.version = 0);
    END IF;

    IF v_tells THEN
        INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump)
        SELECT DISTINCT p_hash[i], v_uri[i], v_event[i] || '.winfo', v_now, true
        FROM generate_subscripts(p_hash, 1) AS i
        WHERE v_witnessed[i] AND v_verdict[i] IN ('created', 'waited', 'ended');
    END IF;

    IF v_verdict && ARRAY['created', 'fetched', 'waited'] THEN
        INSERT INTO active_watchers (presentity_hash, dialog_id, presentity_uri, event, event_id, watcher_username,
            watcher_domain, callid, to_tag, from_tag, to_uri, from_uri, remote_cseq, contact, record_route,
            local_contact, accept, user_agent, sip_instance, expires, status, reason, status_event, changed, edge_instance,
            edge_address, socket_info, revision, last_key, granted, created, ended)
        SELECT p_hash[i], p_dialog[i], v_uri[i], v_event[i], p_event_id[i], p_watcher_username[i], p_watcher_domain[i],
            p_callid[i], p_to_tag[i], p_from_tag[i], p_to_uri[i], p_from_uri[i], p_cseq[i], p_contact[i],
            p_record_route[i], p_local_contact[i], p_accept[i], p_user_agent[i], p_sip_instance[i],
            v_now + CASE WHEN v_verdict[i] = 'waited' THEN p_waiting
                WHEN p_expires[i] = 0 THEN interval '0' ELSE make_interval(secs => p_expires[i] + p_expires_offset) END,
            CASE v_verdict[i] WHEN 'fetched' THEN 3 WHEN 'waited' THEN 4 ELSE p_status[i] END,
            CASE WHEN v_verdict[i] IN ('fetched', 'waited') THEN 'timeout' ELSE p_reason[i] END,
            CASE v_verdict[i] WHEN 'waited' THEN 'timeout' ELSE 'subscribe' END,
            CASE v_verdict[i] WHEN 'fetched' THEN 0 ELSE nextval('presentity_version') END,
            p_edge_instance[i], p_edge_address[i], p_socket_info[i], 1, p_key[i], p_expires[i], v_now,
            CASE v_verdict[i] WHEN 'fetched' THEN v_now END
        FROM generate_subscripts(p_hash, 1) AS i
        WHERE v_verdict[i] IN ('created', 'fetched', 'waited');

        INSERT INTO delivery (presentity_hash, dialog_id, presentity_uri, event, status, revision, local_cseq,
            version, sent_version, acked_version, edge_instance, transport, timeline)
        SELECT p_hash[i], p_dialog[i], v_uri[i], v_event[i], CASE v_verdict[i] WHEN 'created' THEN p_status[i] ELSE 3 END,
            1, 0, -1, 0,
            -- What had ended before is never shown.
            CASE WHEN v_event[i] LIKE '%.winfo' THEN nextval('presentity_version') ELSE 0 END,
            -- Once for all: as the default it would be called for each.
            p_edge_instance[i], p_transport[i], (SELECT timeline_v1())
        FROM generate_subscripts(p_hash, 1) AS i
        WHERE v_verdict[i] IN ('created', 'fetched', 'waited');
    END IF;

    IF v_verdict && ARRAY['refreshed', 'ended'] THEN
        UPDATE active_watchers AS w
        SET remote_cseq = greatest(p_cseq[i], w.remote_cseq), contact = p_contact[i], local_contact = p_local_contact[i],
            accept = p_accept[i], user_agent = p_user_agent[i], sip_instance = p_sip_instance[i],
            expires = v_now + CASE WHEN v_verdict[i] = 'refreshed' THEN make_interval(secs => p_expires[i] + p_expires_offset)
                WHEN v_waits[i] THEN p_waiting ELSE interval '0' END,
            status = CASE WHEN v_verdict[i] <> 'ended' THEN w.status WHEN v_waits[i] THEN 4 ELSE 3 END,
            reason = CASE v_verdict[i] WHEN 'ended' THEN 'timeout' ELSE w.reason END,
            status_event = CASE v_verdict[i] WHEN 'ended' THEN 'timeout' ELSE w.status_event END,
            changed = CASE v_verdict[i] WHEN 'ended' THEN nextval('presentity_version') ELSE w.changed END,
            edge_instance = p_edge_instance[i], edge_address = p_edge_address[i], socket_info = p_socket_info[i],
            revision = w.revision + 1, last_key = p_key[i], granted = p_expires[i],
            ended = CASE WHEN v_verdict[i] = 'ended' AND NOT v_waits[i] THEN v_now END
        FROM generate_subscripts(p_hash, 1) AS i
        WHERE w.presentity_hash = p_hash[i] AND w.dialog_id = p_dialog[i] AND v_verdict[i] IN ('refreshed', 'ended');

        -- What was outstanding on another flow is given up: the watcher has moved.
        UPDATE delivery AS d
        SET status = CASE v_verdict[i] WHEN 'ended' THEN 3 ELSE d.status END, revision = v_revision[i] + 1,
            sent_version = 0, failures = 0, edge_instance = p_edge_instance[i], transport = p_transport[i],
            not_before = NULL,
            outstanding_cseq = CASE WHEN v_moved[i] THEN NULL ELSE d.outstanding_cseq END
        FROM generate_subscripts(p_hash, 1) AS i
        WHERE d.presentity_hash = p_hash[i] AND d.dialog_id = p_dialog[i] AND v_verdict[i] IN ('refreshed', 'ended');
    END IF;

    IF v_verdict && ARRAY['created', 'fetched', 'waited', 'refreshed', 'ended'] THEN
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT p_hash[i], v_uri[i], v_event[i], p_dialog[i], v_now
        FROM generate_subscripts(p_hash, 1) AS i
        WHERE v_verdict[i] IN ('created', 'fetched', 'waited', 'refreshed', 'ended');
    END IF;

    IF 2 = ANY (p_status) OR 0 < ANY (p_rules) THEN
        INSERT INTO watchers AS k (presentity_hash, presentity_uri, watcher_username, watcher_domain, event, status, reason,
            inserted_time)
        SELECT DISTINCT ON (p_hash[i], v_uri[i], v_event[i], p_watcher_username[i], p_watcher_domain[i])
            p_hash[i], v_uri[i], p_watcher_username[i], p_watcher_domain[i], v_event[i], p_status[i], p_reason[i], v_now
        FROM generate_subscripts(p_hash, 1) AS i
        WHERE (p_status[i] = 2 OR p_rules[i] > 0) AND CASE
            WHEN v_verdict[i] IN ('created', 'fetched', 'waited') THEN true
            -- Whoever is refused leaves little behind, whatever names he gives himself.
            WHEN v_verdict[i] = 'blocked' THEN 1000 > (
                SELECT count(*) FROM (
                    SELECT FROM watchers AS o
                    WHERE o.presentity_hash = p_hash[i] AND o.presentity_uri = v_uri[i] AND o.event = v_event[i]
                    LIMIT 1000
                ) AS o
            )
            ELSE false
        END
        ORDER BY p_hash[i], v_uri[i], v_event[i], p_watcher_username[i], p_watcher_domain[i], i DESC
        ON CONFLICT (presentity_hash, presentity_uri, event, watcher_username, watcher_domain) DO UPDATE
        SET status = excluded.status, reason = excluded.reason, inserted_time = excluded.inserted_time
        WHERE NOT k.by_hand AND (k.status, k.reason) IS DISTINCT FROM (excluded.status, excluded.reason);
    END IF;

    RETURN QUERY
    SELECT i, CASE v_verdict[i] WHEN 'late' THEN 'replayed' ELSE v_verdict[i] END,
        CASE v_verdict[i] WHEN 'replayed' THEN w.granted ELSE p_expires[i] END,
        v_now + CASE p_expires[i] WHEN 0 THEN interval '0' ELSE make_interval(secs => p_expires[i] + p_expires_offset) END,
        w.revision, w.presentity_uri, w.event, w.event_id, w.to_uri, w.from_uri, w.record_route, w.watcher_username,
        w.watcher_domain, w.reason
    FROM generate_subscripts(p_hash, 1) AS i
    LEFT JOIN LATERAL (
        SELECT w.granted, w.revision, w.presentity_uri, w.event, w.event_id, w.to_uri, w.from_uri, w.record_route,
            w.watcher_username, w.watcher_domain, w.reason
        FROM active_watchers AS w
        WHERE v_verdict[i] IN ('refreshed', 'ended', 'replayed')
            AND w.presentity_hash = p_hash[i] AND w.dialog_id = p_dialog[i]
        OFFSET 0
    ) AS w ON true;

    IF v_winfo OR NOT v_verdict <@ ARRAY['created', 'fetched', 'waited', 'refreshed', 'ended'] THEN
        -- A refused request leaves nothing behind, not even the row it locked.
        DELETE FROM presentity_state AS s
        USING generate_subscripts(p_hash, 1) AS i
        CROSS JOIN LATERAL (VALUES (v_event[i]), (base_event_v1(v_event[i]))) AS e (event)
        WHERE s.version = 0 AND s.presentity_hash = p_hash[i] AND s.presentity_uri = v_uri[i] AND s.event = e.event;
    END IF;
END
$$;
