"""Dialogs put into Kamailio's table by SQL, as its own SUBSCRIBEs leave them there.

With `subs_db_mode=3` the table is all that it has of them. By SUBSCRIBE, of which it holds a few hundred in a second,
100,000 would take it five minutes.
"""

import time
from collections.abc import Awaitable, Callable

import asyncpg

from bench.phones import Phones
from bench.system import SystemUnderTest

FILL = (
    """
    INSERT INTO active_watchers (presentity_uri, watcher_username, watcher_domain, to_user, to_domain, event,
        event_id, to_tag, from_tag, callid, local_cseq, remote_cseq, contact, record_route, expires, status, reason,
        version, socket_info, local_contact, from_user, from_domain, updated, updated_winfo, flags, user_agent)
    SELECT 'sip:' || p.name || '@example.com', w.name, 'example.com', p.name, 'example.com', 'presence', '',
        md5(w.name), 'tag' || w.number, 'call-' || w.name, 0, 1, 'sip:w' || w.number || '@127.0.0.1:' || $3::int4, '',
        $5::int4, 1, '', 1, 'udp:127.0.0.1:' || $4::int4, 'sip:127.0.0.1:' || $4::int4, w.name, 'example.com', -1, -1,
        0, ''
    FROM unnest($1::text[]) WITH ORDINALITY AS p (name, place)
    CROSS JOIN LATERAL (
        SELECT 'w' || number || '-' || p.name AS name, number
        FROM generate_series((p.place - 1) * $2::int4, p.place * $2::int4 - 1) AS number
    ) AS w
    """,
    """
    INSERT INTO watchers (presentity_uri, watcher_username, watcher_domain, event, status, reason, inserted_time)
    SELECT presentity_uri, watcher_username, watcher_domain, 'presence', 1, '', $1::int4 FROM active_watchers
    """,
    "VACUUM (ANALYZE) active_watchers",
    "VACUUM (ANALYZE) watchers",
)
LIFE = 3600


def by_sql(system: SystemUnderTest) -> Callable[[Phones], Awaitable[int]]:
    """What gives all watchers of phones a dialog in this Kamailio, and says how many."""

    async def make(phones: Phones) -> int:
        names = [phones.name(presentity) for presentity in range(phones.presentities)]
        now = int(time.time())
        connection = await asyncpg.connect(system.database)
        try:
            for statement, arguments in zip(
                FILL,
                ((names, phones.watchers_each, phones.port, system.address[1], now + LIFE), (now,), (), ()),
                strict=True,
            ):
                await connection.execute(statement, *arguments)
        finally:
            await connection.close()
        phones.take_as_subscribed()
        return phones.told

    return make
