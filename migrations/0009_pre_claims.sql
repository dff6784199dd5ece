-- Claims have numbers, so that a notifier whose connection broke in the middle of one can ask what became of it.
--
-- The code before this one knows nothing of it: what it claims has no number, or an old one under another notifier.
ALTER TABLE delivery ADD COLUMN outstanding_claim int8;

-- Notifiers that have lost an answer: no claim with a lower number than this one is carried out any more.
CREATE TABLE claim_fence (
    notifier text PRIMARY KEY,
    claim    int8 NOT NULL,
    written  timestamptz NOT NULL
);

-- What each claim has marked, so that marks that nobody clears are found without a look at all dialogs.

-- One row for each claim that marked anything. It is a hint: what is outstanding says `delivery` alone, and nearly all
-- of it has its outcome long before `until`, when clear_marks_v2 looks at the row and removes it. It is written once
-- for up to a thousand NOTIFYs; an index on the marks would be written twice for each, and no update of `delivery`
-- would be HOT any more.
CREATE TABLE notify_claim (
    id                int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notifier          text NOT NULL,
    -- NULL: of code that does not count its claims.
    claim             int8,
    -- As `outstanding_until` of what was marked.
    until             timestamptz NOT NULL,
    presentity_hashes int4[] NOT NULL,
    dialog_ids        bytea[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);
-- Random octets: they cannot be compressed.
ALTER TABLE notify_claim ALTER COLUMN dialog_ids SET STORAGE EXTERNAL;

-- Claims of the last release's code are noted, too.
ALTER FUNCTION claim_notifies_v1(text, int4, int4, interval) RENAME TO claim_notifies_v1_unnoted;
CREATE FUNCTION claim_notifies_v1(p_notifier text, p_events int4, p_dialogs int4, p_patience interval)
RETURNS TABLE (
    presentity_hash int4, presentity_uri text, event text, version int8, dialog_id bytea, cseq int4,
    document_version int4, status int2, revision int4, sent_before int8, acked_digest bytea,
    since int8, until int8, whole bool, at timestamptz
) LANGUAGE sql AS $$
    WITH claimed AS MATERIALIZED (
        SELECT * FROM claim_notifies_v1_unnoted(p_notifier, p_events, p_dialogs, p_patience)
    ),
    noted AS (
        INSERT INTO notify_claim (notifier, until, presentity_hashes, dialog_ids)
        SELECT p_notifier, max(c.at) + p_patience, array_agg(c.presentity_hash), array_agg(c.dialog_id)
        FROM claimed AS c
        HAVING count(*) > 0
    )
    SELECT * FROM claimed
$$;
