-- What the admin REST needs of its own: who may call it, who changed what, and which requests were answered already.

-- Bearer tokens. Of the secret only a hash is kept; it is long and random, so that a fast hash does.
CREATE TABLE api_token (
    -- The first part of the token, which may be shown.
    id        text PRIMARY KEY,
    name      text NOT NULL CHECK (name <> '' AND length(name) <= 100),
    -- SHA-256 of the secret part.
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    role      text NOT NULL CHECK (role IN ('reader', 'operator', 'admin')),
    -- The one domain whose presentities it sees and changes, in lower case; NULL: all of the system.
    domain    text COLLATE "C" CHECK (domain <> ''),
    created   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires   timestamptz,
    last_used timestamptz,
    revoked   timestamptz
);
-- A name means one token at a time.
CREATE UNIQUE INDEX api_token_name ON api_token (name) WHERE revoked IS NULL;

-- Every change that was asked for over REST or made by the command, with who and when.
CREATE TABLE audit (
    id        int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The name of the token; 'anonymous' where none is asked for; 'command' for the command vedette.
    actor     text NOT NULL,
    token_id  text,
    source    text NOT NULL,
    operation text NOT NULL,
    -- What was changed: a presentity, a dialog, a user ...
    target    text COLLATE "C" NOT NULL,
    -- The domain of the target; NULL: it concerns the whole system.
    domain    text COLLATE "C",
    detail    jsonb NOT NULL,
    -- The HTTP status of the answer; NULL: it is not known what became of it.
    status    int2
);
CREATE INDEX audit_at ON audit (at);

-- Answers to requests with an Idempotency-Key, for a day.
CREATE TABLE rest_answer (
    -- Whose key it is: the id of the token, or ''.
    owner       text NOT NULL,
    key         text NOT NULL,
    -- SHA-256 of what the request asks for.
    fingerprint bytea NOT NULL,
    created     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- NULL: it has not been answered yet.
    status      int2,
    answer      jsonb,
    PRIMARY KEY (owner, key)
);
CREATE INDEX rest_answer_created ON rest_answer (created);
