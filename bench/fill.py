"""Publications and dialogs that nobody asks for, put into the database of a set by SQL."""

import time
from collections.abc import Callable

import asyncpg

TABLES = ("presentity", "presentity_state", "active_watchers", "delivery", "change_event")

# Publications and dialogs live for hours; each presentity has one of both. The dialogs wait for their connection.
FILL = (
    """
    INSERT INTO presentity_state (presentity_hash, presentity_uri, event, version, watchers)
    SELECT hashtext('sip:f' || n || '@example.com'), 'sip:f' || n || '@example.com', 'presence',
        nextval('presentity_version'), 1
    FROM generate_series($1::int4, $2::int4) AS n
    """,
    """
    INSERT INTO presentity (presentity_hash, publication_id, presentity_uri, username, domain, event, sequence, etag,
        expires, received_time, content_type, body, version, last_key, granted)
    SELECT hashtext('sip:f' || n || '@example.com'), decode(md5('p' || n), 'hex'), 'sip:f' || n || '@example.com',
        'f' || n, 'example.com', 'presence', 1, md5('p' || n) || '.1',
        now() + interval '2 hours' + n * interval '1 ms', now(), 'application/pidf+xml',
        convert_to(repeat('x', 300), 'UTF8'), 1, decode(md5('k' || n), 'hex'), 7200
    FROM generate_series($1::int4, $2::int4) AS n
    """,
    """
    INSERT INTO active_watchers (presentity_hash, dialog_id, presentity_uri, event, event_id, watcher_username,
        watcher_domain, callid, to_tag, from_tag, to_uri, from_uri, remote_cseq, contact, record_route, local_contact,
        accept, user_agent, sip_instance, expires, status, reason, edge_instance, edge_address, socket_info, revision,
        last_key, granted, created)
    SELECT hashtext('sip:f' || n || '@example.com'), decode(md5('d' || n), 'hex'), 'sip:f' || n || '@example.com',
        'presence', '', 'w' || n, 'example.com', md5('c' || n), md5('t' || n), md5('g' || n),
        '<sip:f' || n || '@example.com>', '<sip:w' || n || '@example.com>', 1, '<sip:w' || n || '@192.0.2.1:5060>',
        '', '<sip:presence@192.0.2.2:5060>', 'application/pidf+xml', 'fill', '',
        now() + interval '2 hours' + n * interval '1 ms', 1, '', '', '', 'tcp|192.0.2.1|5060|1', 1,
        decode(md5('k' || n), 'hex'), 7200, now()
    FROM generate_series($1::int4, $2::int4) AS n
    """,
    """
    INSERT INTO delivery (presentity_hash, dialog_id, presentity_uri, event, status, revision, local_cseq, version,
        sent_version, transport)
    SELECT s.presentity_hash, decode(md5('d' || n), 'hex'), s.presentity_uri, 'presence', 1, 1, 1, 0, s.version, 'tcp'
    FROM generate_series($1::int4, $2::int4) AS n
    JOIN presentity_state AS s ON s.presentity_hash = hashtext('sip:f' || n || '@example.com')
        AND s.presentity_uri = 'sip:f' || n || '@example.com' AND s.event = 'presence'
    """,
    *(f"VACUUM (ANALYZE) {table}" for table in TABLES),
)


async def fill(database: str, first: int, last: int, say: Callable[[str], None]) -> None:
    """The publications and dialogs with these numbers, both included; each number may be used once."""
    connection = await asyncpg.connect(database)
    try:
        for statement in FILL:
            begun = time.monotonic()
            await connection.execute(statement, *([first, last] if "$1" in statement else []))
            say(f"  {' '.join(statement.split()[:3])}: {time.monotonic() - begun:.0f} s")
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
        say(f"  the database has {size / 2**20:,.0f} MiB")
    finally:
        await connection.close()
