"""Users asked for over real RPC, and the steps of a check (rows AUT-07, AUT-08, AUT-15, AUT-22)."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from sip_edge.domain.admission import Refusal
from sip_edge.domain.authentication import Access, Claim, Sender
from sip_edge.domain.ban_rules import BanRules
from sip_edge.domain.nonces import Nonces
from sip_edge.domain.turned_away import TurnedAway
from sip_edge.flows import authentication as authentication_module
from sip_edge.flows import users as users_module
from sip_edge.flows.authentication import Authentication
from sip_edge.flows.banning import Banning
from sip_edge.flows.users import MAX_BATCH, MAX_CALLS, Users, UsersUnavailableError
from tests.unit.rpc.serving import peers_of, served_together
from tests.unit.sip_edge.received import request
from vedette.rpc.contract import SUBSCRIBERS, Ha1s, SubscriberAnswer, SubscriberQuery
from vedette.rpc.server import NotReadyError
from vedette.sip.digest import Credentials, authorize, choose
from vedette.sip.flow import Flow
from vedette.sip.message import Request
from vedette.store.subscribers import secrets_of

FLOW = Flow("udp", "203.0.113.7", 5062)
BOB = ("bob", "example.net")
SECRETS = secrets_of(*BOB, "hunter2")


class Core:
    """A replica that knows bob, and what it was asked."""

    def __init__(self, treat: Callable[[], Awaitable[bytes | None]] | None = None) -> None:
        self.treat = treat
        self.asked: list[list[tuple[str, str]]] = []
        self.secrets: Ha1s | None = SECRETS

    async def __call__(self, body: bytes) -> bytes:
        names = msgspec.msgpack.decode(body, type=SubscriberQuery).names
        self.asked.append(names)
        answer = await self.treat() if self.treat is not None else None
        found = [self.secrets if name == BOB else None for name in names]
        return msgspec.msgpack.encode(SubscriberAnswer(found)) if answer is None else answer


@asynccontextmanager
async def users_of(*cores: Core) -> AsyncIterator[Users]:
    async with (
        served_together(*({SUBSCRIBERS: core} for core in cores)) as heres,
        peers_of(*(here.address for here in heres)) as peers,
    ):
        await peers.probe()
        yield Users(peers)


async def test_who_is_asked_for_together_is_one_call_and_each_name_is_asked_for_once() -> None:
    core = Core()
    async with users_of(core) as users:
        found = await asyncio.gather(*(users.find(name, 60) for name in (BOB, ("eve", "x"), BOB)))
        assert [known.secrets for known in found] == [SECRETS, None, SECRETS]
        assert core.asked == [[BOB, ("eve", "x")]]
        # That there is no eve is remembered, too.
        assert (await users.find(("eve", "x"), 60)).secrets is None
        assert (await users.find(BOB, 60)).secrets == SECRETS
        assert len(core.asked) == 1
        await users.find(BOB, 0)
        assert core.asked[1:] == [[BOB]]


async def test_aut_22_calls_and_memory_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "MAX_REMEMBERED", 100)
    running, most = 0, 0

    async def count() -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0)
        running -= 1

    core = Core(count)
    async with users_of(core) as users:
        names = [(f"u{number}", "x") for number in range(MAX_BATCH * (MAX_CALLS + 2))]
        await asyncio.gather(*(users.find(name, 60) for name in names))
        assert sorted(name for asked in core.asked for name in asked) == sorted(names)
        assert max(map(len, core.asked)) == MAX_BATCH
        assert most <= MAX_CALLS
        assert len(users._known) == 100


async def test_another_replica_is_asked_where_one_cannot_tell() -> None:
    async def away() -> bytes | None:
        raise NotReadyError

    async def rubbish() -> bytes | None:
        return b"\xc1"

    async def too_few() -> bytes | None:
        return msgspec.msgpack.encode(SubscriberAnswer([]))

    async with users_of(Core(away), Core(rubbish), Core(too_few), Core()) as users:
        for _ in range(8):
            assert (await users.find(BOB, 0)).secrets == SECRETS


async def test_where_nobody_tells_whoever_waits_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "PATIENCE", 0.2)
    async with users_of() as users:
        answers = await asyncio.gather(users.find(BOB, 60), users.find(BOB, 60), return_exceptions=True)
        assert [type(answer) for answer in answers] == [UsersUnavailableError] * 2


# the steps


def banning() -> Banning:
    """Two wrong passwords are too many."""
    rules = BanRules(threshold=100, wrong_passwords=2)
    return Banning(rules, TurnedAway(), is_trusted=lambda _: False, cut=lambda _: 0)


def authentication(users: Users, **options: object) -> Authentication:
    access = Access("digest", trusted=(ipaddress.ip_network("192.0.2.0/24"),))
    facts = {
        "nonces": Nonces([b"k"]), "lifetime": 300, "users_max_age": 60, "counts": None, "banning": banning(),
    } | options  # fmt: skip
    return Authentication(access, users=users, **facts)  # type: ignore[arg-type]


async def checked(flow: Authentication, received: Request, source: Flow = FLOW) -> Sender | Refusal:
    """What is found, whether at once or after asking."""
    at_once = flow.at_once(received, source)
    if not isinstance(at_once, Claim):
        return at_once
    future: asyncio.Future[Sender | Refusal] = asyncio.get_running_loop().create_future()
    flow.ask(received, source, at_once, future.set_result)
    return await future


async def answered(
    flow: Authentication, password: str = "hunter2", user: str = "bob", count: int = 1, source: Flow = FLOW
) -> Request:
    """A SUBSCRIBE that answers a challenge, which was sent to that source."""
    asked = flow.at_once(request("SUBSCRIBE"), source)
    assert isinstance(asked, Refusal)
    assert asked.status == 401
    challenge = choose(value for _, value in asked.headers)
    assert challenge is not None
    assert challenge.algorithm == "SHA-512-256"
    row = authorize(
        challenge, Credentials(user, password), method="SUBSCRIBE", uri="sip:alice@example.com", body=b"", cnonce="c",
        count=count,
    )  # fmt: skip
    return request("SUBSCRIBE", "sip:alice@example.com", ("Authorization", row))


def is_challenge(found: Sender | Refusal, *, stale: bool) -> bool:
    assert isinstance(found, Refusal)
    return found.status == 401 and all(("stale=true" in value) == stale for _, value in found.headers)


async def test_the_right_password_tells_who_it_is() -> None:
    async with users_of(Core()) as users:
        flow = authentication(users)
        received = await answered(flow)
        assert await checked(flow, received) == Sender("sip:bob@example.net", proved=True)
        # a copy
        assert await checked(flow, received) == Sender("sip:bob@example.net", proved=True)
        await flow.drain()


async def test_aut_15_a_wrong_password_and_an_unknown_user_are_asked_again_and_cost_the_same() -> None:
    core = Core()
    async with users_of(core) as users:
        flow = authentication(users)
        for password, user in (("wrong", "bob"), ("hunter2", "eve")):
            assert is_challenge(await checked(flow, await answered(flow, password, user)), stale=False)
        assert core.asked == [[BOB], [("eve", "example.net")]]


async def test_a_new_password_is_known_as_soon_as_what_is_remembered_is_not_fresh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authentication_module, "FRESH", -1.0)
    core = Core()
    async with users_of(core) as users:
        flow = authentication(users)
        assert isinstance(await checked(flow, await answered(flow)), Sender)
        core.secrets = secrets_of(*BOB, "new")
        assert isinstance(await checked(flow, await answered(flow, password="new")), Sender)


async def test_aut_07_a_nonce_of_another_cluster_is_none_and_an_old_one_is_stale() -> None:
    async with users_of(Core()) as users:
        flow = authentication(users)
        other = authentication(users, nonces=Nonces([b"x"]))
        assert is_challenge(await checked(flow, await answered(other)), stale=False)
        old = authentication(users, lifetime=-1)
        assert is_challenge(await checked(old, await answered(flow)), stale=True)
        assert is_challenge(await checked(old, await answered(flow, password="wrong")), stale=False)


async def test_aut_08_what_other_edges_know_counts_and_without_them_what_this_one_knows() -> None:
    class Elsewhere:
        says: bool | None = False

        async def take(self, nonce: str, count: int, request: bytes) -> bool | None:
            del nonce, count, request
            return self.says

        async def close(self) -> None:
            """Nothing to close."""

    async with users_of(Core()) as users:
        counts = Elsewhere()
        flow = authentication(users, counts=counts)
        assert is_challenge(await checked(flow, await answered(flow)), stale=True)
        counts.says = None
        assert isinstance(await checked(flow, await answered(flow)), Sender)


async def test_sec_08_without_an_answer_of_the_core_it_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "PATIENCE", 0.1)
    async with users_of() as users:
        flow = authentication(users)
        found = await checked(flow, await answered(flow))
        assert isinstance(found, Refusal)
        assert (found.status, [name for name, _ in found.headers]) == (503, ["Retry-After"])


# too many wrong passwords


def is_locked(found: Sender | Refusal) -> bool:
    return isinstance(found, Refusal) and found.status == 403 and "Retry-After" in dict(found.headers)


async def test_too_many_wrong_passwords_lock_the_user_where_they_come_from_and_nowhere_else() -> None:
    core = Core()
    async with users_of(core) as users:
        flow = authentication(users)
        for _ in range(2):
            assert is_challenge(await checked(flow, await answered(flow, "wrong")), stale=False)
        asked = len(core.asked)
        assert is_locked(await checked(flow, await answered(flow)))
        assert len(core.asked) == asked, "the password is not looked at"
        # Another user there, and the user himself elsewhere, with a nonce from anywhere.
        assert is_challenge(await checked(flow, await answered(flow, user="eve")), stale=False)
        elsewhere = Flow("udp", "203.0.113.8", 5060)
        assert isinstance(await checked(flow, await answered(flow), elsewhere), Sender)


async def test_a_stranger_who_forges_a_source_locks_nobody_out_there() -> None:
    """He has nonces, but none that was sent to his victim; there they count for nothing before long."""
    async with users_of(Core()) as users:
        flow = authentication(users)
        victim = Flow("udp", "203.0.113.8", 5060)
        for _ in range(2):
            assert is_challenge(await checked(flow, await answered(flow, "wrong"), victim), stale=False)
        for _ in range(10):
            assert is_challenge(await checked(flow, await answered(flow, "wrong"), victim), stale=True)
        # The victim, with a nonce that somebody else got, has to ask for one of his own, and is let in with that.
        assert is_challenge(await checked(flow, await answered(flow), victim), stale=True)
        own = await answered(flow, source=victim)
        assert isinstance(await checked(flow, own, victim), Sender)
