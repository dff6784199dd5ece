-- Webhooks: who is told by HTTP of what happens, and what they have yet to be told (decision 0025).

CREATE TABLE webhook (
    id          text PRIMARY KEY,
    url         text NOT NULL,
    -- publication, subscription, notify
    kinds       text[] NOT NULL,
    -- NULL: any
    presentity  text COLLATE "C",
    event       text,
    domain      text,
    secret      text NOT NULL,
    -- How many deliveries may wait; the oldest beyond that are dead letters.
    max_waiting int4 NOT NULL,
    created     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The outbox, and the dead letters: written in the transaction of the change.
CREATE TABLE webhook_delivery (
    webhook_id text NOT NULL REFERENCES webhook ON DELETE CASCADE,
    id         int8 GENERATED ALWAYS AS IDENTITY,
    payload    text NOT NULL,
    created    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When it is tried next; while it is being tried, when it is taken for given up.
    due        timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts   int4 NOT NULL DEFAULT 0,
    error      text,
    -- Since when it is a dead letter.
    dead       timestamptz,
    PRIMARY KEY (webhook_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX webhook_delivery_due ON webhook_delivery (webhook_id, due) WHERE dead IS NULL;

-- Make the oldest deliveries of a webhook dead letters where too many wait, and forget the oldest of too many of these.
CREATE FUNCTION webhook_trim_v1(p_webhook text) RETURNS void LANGUAGE sql AS $$
    UPDATE webhook_delivery AS d
    SET dead = clock_timestamp(), error = 'too many were waiting'
    FROM (
        SELECT w.webhook_id, w.id
        FROM webhook_delivery AS w
        JOIN (
            SELECT t.id FROM webhook_delivery AS t
            WHERE t.webhook_id = p_webhook AND t.dead IS NULL
            ORDER BY t.id DESC
            OFFSET (SELECT h.max_waiting FROM webhook AS h WHERE h.id = p_webhook) LIMIT 1
        ) AS t ON w.id <= t.id
        WHERE w.webhook_id = p_webhook AND w.dead IS NULL
        FOR UPDATE OF w SKIP LOCKED
    ) AS o
    WHERE d.webhook_id = o.webhook_id AND d.id = o.id;
    DELETE FROM webhook_delivery AS d
    USING (
        SELECT w.webhook_id, w.id
        FROM webhook_delivery AS w
        WHERE w.webhook_id = p_webhook AND w.dead IS NOT NULL
        ORDER BY w.id DESC
        OFFSET (SELECT h.max_waiting FROM webhook AS h WHERE h.id = p_webhook)
        FOR UPDATE OF w SKIP LOCKED
    ) AS o
    WHERE d.webhook_id = o.webhook_id AND d.id = o.id;
$$;

-- What happened, for every webhook that wants it. Trimmed now and then here, too, should nobody deliver.
CREATE FUNCTION webhook_put_v1(p_kind text, p_what text, p_uri text, p_event text, p_more jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_webhook text;
BEGIN
    FOR v_webhook IN
        INSERT INTO webhook_delivery (webhook_id, payload)
        SELECT h.id, (jsonb_build_object(
            'kind', p_kind, 'what', p_what, 'presentity', p_uri, 'event', p_event,
            'time', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        ) || p_more)::text
        FROM webhook AS h
        WHERE p_kind = ANY (h.kinds) AND (h.presentity IS NULL OR h.presentity = p_uri)
            AND (h.event IS NULL OR h.event = p_event)
            AND (h.domain IS NULL OR h.domain = regexp_replace(p_uri, '^(sip:|.*@)+', ''))
        RETURNING webhook_id
    LOOP
        IF random() < 0.001 THEN
            PERFORM webhook_trim_v1(v_webhook);
        END IF;
    END LOOP;
END
$$;

-- The id of a dialog or publication as REST has it, without the preference.
CREATE FUNCTION webhook_id_v1(p_hash int4, p_id bytea) RETURNS text LANGUAGE sql IMMUTABLE
RETURN lpad(to_hex(p_hash), 8, '0') || '.' || encode(p_id, 'hex');

CREATE FUNCTION webhook_of_publication_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_what text;
BEGIN
    v_what := CASE
        WHEN TG_OP = 'INSERT' THEN CASE WHEN NEW.ended IS NULL THEN 'created' END
        WHEN OLD.ended IS NOT NULL THEN NULL
        WHEN NEW.ended IS NOT NULL THEN
            CASE WHEN NEW.sequence > OLD.sequence OR NEW.version = OLD.version THEN 'removed' ELSE 'expired' END
        WHEN NEW.sequence = OLD.sequence THEN NULL
        WHEN NEW.granted = 0 THEN 'removed'
        WHEN NEW.version > OLD.version THEN 'modified'
        ELSE 'refreshed'
    END;
    IF v_what IS NOT NULL THEN
        PERFORM webhook_put_v1('publication', v_what, NEW.presentity_uri, NEW.event, jsonb_build_object(
            'id', webhook_id_v1(NEW.presentity_hash, NEW.publication_id), 'expires_in', NEW.granted,
            'version', NEW.version));
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION webhook_of_subscription_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_what text;
BEGIN
    v_what := CASE
        WHEN TG_OP = 'INSERT' THEN CASE NEW.status WHEN 3 THEN 'fetched' ELSE 'created' END
        WHEN OLD.ended IS NOT NULL OR (OLD.status = 4 AND NEW.status <> 1) THEN NULL
        WHEN NEW.status IN (3, 4) AND NEW.last_key = OLD.last_key AND OLD.expires <= clock_timestamp() THEN 'expired'
        WHEN NEW.status IN (3, 4) THEN 'removed'
        WHEN NEW.last_key <> OLD.last_key THEN 'refreshed'
        WHEN NEW.status <> OLD.status THEN 'modified'
    END;
    IF v_what IS NOT NULL THEN
        PERFORM webhook_put_v1('subscription', v_what, NEW.presentity_uri, NEW.event, jsonb_build_object(
            'id', NEW.to_tag, 'expires_in', NEW.granted, 'reason', nullif(NEW.reason, ''),
            'watcher', 'sip:' || CASE NEW.watcher_username WHEN '' THEN '' ELSE NEW.watcher_username || '@' END
                || NEW.watcher_domain));
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION webhook_of_notify_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM webhook_put_v1('notify', CASE
        WHEN NEW.last_status BETWEEN 200 AND 299 THEN 'delivered' WHEN NEW.last_status > 0 THEN 'failed'
        WHEN NEW.last_status = 0 THEN 'timeout' WHEN NEW.last_status = -1 THEN 'unreachable' ELSE 'flow_gone'
    END, NEW.presentity_uri, NEW.event, (
        SELECT jsonb_build_object(
            'id', w.to_tag, 'code', CASE WHEN NEW.last_status > 0 THEN NEW.last_status END,
            'cseq', OLD.outstanding_cseq,
            'watcher', 'sip:' || CASE w.watcher_username WHEN '' THEN '' ELSE w.watcher_username || '@' END
                || w.watcher_domain)
        FROM active_watchers AS w
        WHERE w.presentity_hash = NEW.presentity_hash AND w.dialog_id = NEW.dialog_id));
    RETURN NULL;
END
$$;

CREATE TRIGGER webhook_of_publication AFTER INSERT OR UPDATE ON presentity
    FOR EACH ROW EXECUTE FUNCTION webhook_of_publication_v1();
CREATE TRIGGER webhook_of_subscription AFTER INSERT OR UPDATE ON active_watchers
    FOR EACH ROW EXECUTE FUNCTION webhook_of_subscription_v1();
CREATE TRIGGER webhook_of_notify AFTER UPDATE ON delivery
    FOR EACH ROW WHEN (NEW.last_answered IS DISTINCT FROM OLD.last_answered)
    EXECUTE FUNCTION webhook_of_notify_v1();
ALTER TABLE presentity DISABLE TRIGGER webhook_of_publication;
ALTER TABLE active_watchers DISABLE TRIGGER webhook_of_subscription;
ALTER TABLE delivery DISABLE TRIGGER webhook_of_notify;

-- Have the triggers fire where a webhook wants what they tell, and not where none does; call it after each change of
-- the webhooks, in its transaction.
--
-- Locks the tables, in the order of the batch functions, for as long as the transaction lasts: writers wait. Only
-- where something changes.
CREATE FUNCTION webhook_watch_v1() RETURNS void LANGUAGE plpgsql
-- Below deadlock_timeout: it gives way, not the traffic.
SET lock_timeout = '500ms'
AS $$
DECLARE
    v_found record;
BEGIN
    LOCK TABLE webhook IN SHARE ROW EXCLUSIVE MODE;
    FOR v_found IN
        SELECT k.relation, k.name, EXISTS (SELECT FROM webhook AS h WHERE k.kind = ANY (h.kinds)) AS wanted, t.tgenabled
        FROM (VALUES
            (1, 'presentity', 'webhook_of_publication', 'publication'),
            (2, 'active_watchers', 'webhook_of_subscription', 'subscription'),
            (3, 'delivery', 'webhook_of_notify', 'notify')
        ) AS k (place, relation, name, kind)
        JOIN pg_trigger AS t ON t.tgrelid = k.relation::regclass AND t.tgname = k.name
        ORDER BY k.place
    LOOP
        IF v_found.wanted <> (v_found.tgenabled <> 'D') THEN
            EXECUTE format('ALTER TABLE %I %s TRIGGER %I', v_found.relation,
                CASE WHEN v_found.wanted THEN 'ENABLE' ELSE 'DISABLE' END, v_found.name);
        END IF;
    END LOOP;
END
$$;
