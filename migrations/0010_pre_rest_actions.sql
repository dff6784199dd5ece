-- What operators do to dialogs over REST: have a NOTIFY sent again, to one or to all of a presentity, and end one.

-- Have dialogs of a presentity get a NOTIFY, whatever they have.
--
-- In    the presentity; one dialog of it (NULL: all)
-- Out   one row for each dialog that is there and may be sent something: what becomes of it: 'owed' (it is sent as soon
--       as may be), 'outstanding' (after the one that is on its way) or 'unreachable' (with its next SUBSCRIBE)
-- Locks presentity_state, then delivery
CREATE FUNCTION notify_again_v1(p_hash int4, p_uri text, p_event text, p_dialog bytea)
RETURNS TABLE (dialog_id bytea, becomes text) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM presentity_state AS s
    WHERE s.presentity_hash = p_hash AND s.presentity_uri = p_uri AND s.event = p_event
    FOR NO KEY UPDATE;

    RETURN QUERY
    WITH owed AS (
        UPDATE delivery AS d
        SET sent_version = 0, not_before = NULL,
            acked_digest = NULL
        WHERE d.presentity_hash = p_hash AND d.presentity_uri = p_uri AND d.event = p_event
            AND (p_dialog IS NULL OR d.dialog_id = p_dialog)
        RETURNING d.dialog_id, d.outstanding_cseq, d.edge_instance
    ),
    told AS (
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        SELECT p_hash, p_uri, p_event, p_dialog, clock_timestamp()
        WHERE EXISTS (SELECT FROM owed)
    )
    SELECT o.dialog_id, CASE
        WHEN o.edge_instance IS NULL THEN 'unreachable'
        WHEN o.outstanding_cseq IS NOT NULL THEN 'outstanding'
        ELSE 'owed'
    END
    FROM owed AS o;
END
$$;

-- End a dialog for a reason of ours (RFC 6665 section 4.4.1): its watcher gets a last NOTIFY that says so.
--
-- In    the dialog; the reason, as Subscription-State and watcher information name it
-- Out   'told' (the last NOTIFY is owed), 'untold' (nobody reaches the watcher, or it was waiting), NULL: there is no
--       such dialog that lives
-- Locks presentity_state, then active_watchers, delivery
CREATE FUNCTION terminate_dialog_v1(p_hash int4, p_dialog bytea, p_reason text) RETURNS text LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    v_now timestamptz;
    v_uri text;
    v_event text;
    v_row active_watchers;
    v_reached bool;
BEGIN
    -- The presentity of a dialog never changes, so it may be read before its lock is taken.
    SELECT w.presentity_uri, w.event INTO v_uri, v_event
    FROM active_watchers AS w WHERE w.presentity_hash = p_hash AND w.dialog_id = p_dialog;
    PERFORM 1 FROM presentity_state AS s
    WHERE s.presentity_hash = p_hash AND s.presentity_uri = v_uri AND s.event = v_event
    FOR NO KEY UPDATE;

    v_now := clock_timestamp();
    SELECT * INTO v_row FROM active_watchers AS w WHERE w.presentity_hash = p_hash AND w.dialog_id = p_dialog;
    IF v_row.dialog_id IS NULL OR v_row.ended IS NOT NULL OR v_row.expires <= v_now THEN
        RETURN NULL;
    END IF;

    UPDATE active_watchers AS w
    SET ended = v_now, status = 3, reason = p_reason, status_event = p_reason,
        changed = nextval('presentity_version'), revision = w.revision + 1
    WHERE w.presentity_hash = p_hash AND w.dialog_id = p_dialog;
    UPDATE presentity_state AS s
    SET watchers = s.watchers - 1
    WHERE s.presentity_hash = p_hash AND s.presentity_uri = v_uri AND s.event = v_event;
    -- As in subscribe_batch_v1.
    INSERT INTO change_event (presentity_hash, presentity_uri, event, due, bump)
    SELECT s.presentity_hash, s.presentity_uri, s.event, v_now, true
    FROM presentity_state AS s
    WHERE s.presentity_hash = p_hash AND s.presentity_uri = v_uri AND s.event = v_event || '.winfo'
        AND s.watchers > 0;

    -- Its connection is gone: nobody can be told.
    DELETE FROM delivery AS d
    WHERE d.presentity_hash = p_hash AND d.dialog_id = p_dialog AND d.edge_instance IS NULL;
    UPDATE delivery AS d
    SET status = 3, sent_version = 0, revision = v_row.revision + 1, not_before = NULL
    WHERE d.presentity_hash = p_hash AND d.dialog_id = p_dialog;
    v_reached := FOUND;
    IF v_reached THEN
        INSERT INTO change_event (presentity_hash, presentity_uri, event, dialog_id, due)
        VALUES (p_hash, v_uri, v_event, p_dialog, v_now);
    END IF;
    RETURN CASE WHEN v_reached THEN 'told' ELSE 'untold' END;
END
$$;
