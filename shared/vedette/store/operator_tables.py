"""Views under the names that operators' tools know the tables of OpenSIPS and Kamailio by.

Our own tables keep their names; a name that the parameters `presentity_table`, `active_watchers_table` and
`watchers_table` give instead becomes a view with those servers' columns and what is live of ours. Times are seconds
since 1970, as they have them, and `id` is a number that stays with the row.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping

import asyncpg

KINDS = ("presentity", "active_watchers", "watchers")
TABLES = frozenset(
    (*KINDS, "presentity_state", "delivery", "change_event", "replica", "secret", "subscriber", "xcap",
     "dialog_keeping", "schema_migration", "api_token", "audit", "rest_answer",
    "ban", "location", "webhook", "webhook_delivery", "claim_fence", "notify_claim", "watcher_rules")
)  # fmt: skip
"""The names of tables that are ours, now or by the design."""

_QUERIES = {
    "presentity": """
SELECT ('x' || left(encode(publication_id, 'hex'), 15))::bit(60)::int8 AS id,
       username, domain, event, etag,
       extract(epoch FROM expires)::int8 AS expires,
       extract(epoch FROM received_time)::int8 AS received_time,
       body,
       coalesce(sender, '') AS sender,
       encode(publication_id, 'hex') AS ruid
FROM presentity
WHERE ended IS NULL AND expires > now()""",
    "active_watchers": """
SELECT ('x' || left(encode(a.dialog_id, 'hex'), 15))::bit(60)::int8 AS id,
       a.presentity_uri, a.watcher_username, a.watcher_domain,
       coalesce(substring(a.presentity_uri FROM '^sip:(.*)@[^@]*$'), '') AS to_user,
       regexp_replace(a.presentity_uri, '^(sip:|.*@)', '') AS to_domain,
       a.event, a.event_id, a.to_tag, a.from_tag, a.callid,
       d.local_cseq, a.remote_cseq, a.contact, a.record_route,
       extract(epoch FROM a.expires)::int8 AS expires,
       a.status, a.reason, d.version, a.socket_info, a.local_contact,
       a.watcher_username AS from_user, a.watcher_domain AS from_domain, a.user_agent
FROM active_watchers a
JOIN delivery d USING (presentity_hash, dialog_id)
WHERE a.ended IS NULL AND a.expires > now() AND a.status <> 4""",
    "watchers": """
SELECT ('x' || left(md5(concat_ws(' ', presentity_uri, event, watcher_username, watcher_domain)), 15))::bit(60)::int8
           AS id,
       presentity_uri, watcher_username, watcher_domain, event, status, reason,
       extract(epoch FROM inserted_time)::int8 AS inserted_time
FROM watchers""",
}

_RELATIONS = """
SELECT relname::text AS name, coalesce(obj_description(oid, 'pg_class'), '') AS comment
FROM pg_class WHERE relnamespace = current_schema()::regnamespace"""
_LOCK = 0x7665_6465_7474_66


class NameTakenError(Exception):
    """The name belongs to a table that is not ours; the text names the parameter."""


async def name_tables(
    connection: "asyncpg.Connection[asyncpg.Record]", names: Mapping[str, str]
) -> AsyncIterator[str]:
    """Make the views for these names (kind: name), take away those of earlier ones, and yield each step, for people.

    All or nothing. A view that is right already is left alone, with the rights that were granted on it. Raises
    NameTakenError.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        comments = {row["name"]: row["comment"] for row in await connection.fetch(_RELATIONS)}
        wanted = {name: kind for kind, name in names.items() if name != kind}
        for name, comment in comments.items():
            if comment.startswith(_comment("")) and comment != _comment(wanted.get(name, "")):
                await connection.execute(f"DROP VIEW {_quoted(name)}")
                if name not in wanted:
                    yield f"removed the view {name}"
        for name, kind in wanted.items():
            comment = comments.get(name)
            if comment == _comment(kind):
                continue
            if comment is not None and not comment.startswith(_comment("")):
                raise NameTakenError(
                    f"VEDETTE_{kind.upper()}_TABLE: {name!r} is in the database already and is not a view that "
                    "Vedette made; choose another name, or move what has it"
                )
            await connection.execute(f"CREATE VIEW {_quoted(name)} AS {_QUERIES[kind]}")
            await connection.execute(f"COMMENT ON VIEW {_quoted(name)} IS '{_comment(kind)}'")
            yield f"made the view {name} of {kind}"


def _comment(kind: str) -> str:
    """What marks a view as ours, as that of a kind, and as made from this query; its beginning for no kind."""
    if not kind:
        return "vedette: view of "
    return f"{_comment('')}{kind} ({hashlib.sha256(_QUERIES[kind].encode()).hexdigest()[:12]})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
