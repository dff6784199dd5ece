"""Users, their secrets, and the use of nonces across edges, on real servers (rows AUT-05, AUT-08, AUT-15, PUB-24)."""

import asyncio
import hashlib

import asyncpg
import msgspec
import pytest

from presence_core.adapters.subscribers import SubscribersHandler
from sip_edge.adapters.nonce_counts import NonceCounts
from tests.phone import token
from tests.servers import Servers
from vedette.rpc.contract import SubscriberAnswer, SubscriberQuery
from vedette.rpc.server import NotReadyError
from vedette.store import subscribers
from vedette.store.database import Database
from vedette.store.redis_link import RedisLink


async def ask(database: Database, *names: tuple[str, str]) -> list[object]:
    """What the core answers an edge."""
    body = msgspec.msgpack.encode(SubscriberQuery(list(names)))
    return list(msgspec.msgpack.decode(await SubscribersHandler(database)(body), type=SubscriberAnswer).found)


async def test_aut_05_edges_are_told_hashes_in_the_order_asked(database: Database, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    ann = subscribers.secrets_of("ann", "example.com", "pässword")
    assert ann.md5 == hashlib.md5("ann:example.com:pässword".encode()).hexdigest()
    assert ann.sha512t256 == hashlib.new("sha512_256", "ann:example.com:pässword".encode()).hexdigest()
    zoe = subscribers.secrets_of("zoë 5%", "example.net", "p")
    assert await subscribers.add(connection, "ann", "example.com", ann)
    assert await subscribers.add(connection, "zoë 5%", "example.net", zoe)
    assert not await subscribers.add(connection, "ann", "example.com", zoe)
    asked = [("zoë 5%", "example.net"), ("ANN", "example.com"), ("a\x00b", "x"), ("ann", "example.com"), ("", "")]
    assert await ask(database, *asked) == [zoe, None, None, ann, None]
    assert await ask(database) == []
    assert await subscribers.change(connection, "ann", "example.com", zoe)
    assert await ask(database, asked[3]) == [zoe]
    assert [row["username"] for row in await subscribers.users(connection, "example.com")] == ["ann"]
    assert await subscribers.remove(connection, "ann", "example.com")
    assert not await subscribers.remove(connection, "ann", "example.com")
    assert not await subscribers.change(connection, "ann", "example.com", zoe)
    assert await ask(database, asked[3]) == [None]
    stored = str([tuple(row) for row in await connection.fetch("SELECT * FROM subscriber")])
    assert "zoë 5%" in stored
    assert "'p'" not in stored
    await connection.close()


async def test_a_core_without_a_database_cannot_tell(database_url: str) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none", size=1, name="test")
    with pytest.raises(NotReadyError):
        await ask(away, ("ann", "example.com"))
    await away.close()


async def test_aut_08_what_one_edge_has_taken_no_other_one_takes_again(servers: Servers) -> None:
    one, other = (NonceCounts(RedisLink(servers.redis.url()), 300) for _ in range(2))
    nonce = token()
    assert await one.take(nonce, 1, b"first") is True
    assert await other.take(nonce, 1, b"first") is True  # a copy that came by the other edge
    assert await other.take(nonce, 1, b"replay") is False
    assert await other.take(nonce, 5, b"second") is True
    assert await one.take(nonce, 4, b"third") is False
    assert await one.take(nonce, 0xFFFFFFFF, b"last") is True
    many = await asyncio.gather(
        *(one.take(f"{nonce}{number % 300}", number, b"%d" % number) for number in range(600))
    )
    assert all(many)
    link = RedisLink(servers.redis.url())
    assert 300 < await link.client.ttl(f"vedette:nonce:{{{nonce}}}") <= 600
    await link.client.script_flush()
    assert await one.take(nonce, 1, b"again") is False
    for each in (one, other, link):
        await each.close()


async def test_aut_08_only_one_of_two_edges_takes_a_count(servers: Servers) -> None:
    edges = [NonceCounts(RedisLink(servers.redis.url()), 300) for _ in range(2)]
    nonces = [token() for _ in range(100)]
    taken = await asyncio.gather(
        *(edge.take(nonce, 1, b"%d" % place) for nonce in nonces for place, edge in enumerate(edges))
    )
    assert [sum(map(bool, taken[at : at + 2])) for at in range(0, 200, 2)] == [1] * 100
    for edge in edges:
        await edge.close()


async def test_without_redis_nobody_tells(servers: Servers) -> None:
    counts = NonceCounts(RedisLink("redis://127.0.0.1:1/0"), 300)
    assert [await counts.take("n", 1, b"r") for _ in range(3)] == [None] * 3
    await counts.close()
