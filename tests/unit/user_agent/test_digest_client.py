"""The user agent's answers to challenges, judged by a server that computes digests for itself (RFC 3261 22)."""

import json
from collections.abc import Callable

import pytest

from tests.phone import Message
from tests.scripted_server import ScriptedServer, credentials, digest_response, is_right, reply
from tests.vectors import FOLDER, needs_vectors
from vedette.sip.digest import Credentials
from vedette_cli.user_agent.agent import Server, UserAgent
from vedette_cli.user_agent.presence_document import write
from vedette_cli.user_agent.publisher import Publisher, RefusedError
from vedette_cli.user_agent.watcher import Notification, Watcher

ALICE = "sip:alice@example.com"
DOCUMENT = write(ALICE, status="open", note=None, activity=None, tuple_id="t1")
WWW = ("WWW-Authenticate", "authorization", 401)
PROXY = ("Proxy-Authenticate", "proxy-authorization", 407)


@needs_vectors
def test_the_judge_knows_the_published_answers() -> None:
    facts = json.loads((FOLDER / "auth" / "digest.json").read_text(encoding="utf-8"))["vectors"]
    assert {fact["algorithm"] for fact in facts} == {"MD5", "SHA-256"}
    for fact in facts:
        assert fact["response"] == digest_response(
            fact["algorithm"],
            user=fact["username"],
            realm=fact["realm"],
            password=fact["password"],
            method=fact["method"],
            uri=fact["uri"],
            nonce=fact["nonce"],
            qop=fact["qop"],
            nc=fact["nc"],
            cnonce=fact["cnonce"],
        )


def challenge(algorithm: str | None = "MD5", qop: str | None = "auth", *, nonce: str = "n1", **fields: str) -> str:
    """The value of a challenge's header."""
    parts = ['realm="example.com"', f'nonce="{nonce}"']
    parts += [f"algorithm={algorithm}"] if algorithm is not None else []
    parts += [f'qop="{qop}"'] if qop is not None else []
    parts += [f'{name}="{value}"' for name, value in fields.items()]
    return "Digest " + ", ".join(parts)


def asking(kind: tuple[str, str, int], *challenges: str, password: str = "secret") -> Callable[[Message], bytes]:
    """A script that lets in who proves the password."""
    asks, answers, status = kind

    def script(request: Message) -> bytes:
        if answers in request and is_right(request, answers, password):
            return reply(request, 200, "Expires: 600", "SIP-ETag: e1", "Contact: <sip:127.0.0.1>")
        return reply(request, status, *(f"{asks}: {value}" for value in challenges))

    return script


async def published(server: ScriptedServer, password: str = "secret", user: str = "alice") -> Publisher:
    host, _, port = server.address.partition(":")
    async with UserAgent(Server(host, int(port)), credentials=Credentials(user, password), patience=10) as agent:
        publisher = Publisher(agent, ALICE)
        await publisher.publish(DOCUMENT, 600)
    return publisher


CHALLENGES: list[tuple[list[str], dict[str, str]]] = [
    ([challenge("MD5")], {"algorithm": "MD5", "qop": "auth", "nc": "00000001"}),
    ([challenge("MD5", None)], {"algorithm": "MD5"}),
    ([challenge(None, None)], {"algorithm": "MD5"}),
    ([challenge("SHA-256")], {"algorithm": "SHA-256", "qop": "auth"}),
    ([challenge("SHA-512-256")], {"algorithm": "SHA-512-256", "qop": "auth"}),
    ([challenge("MD5-sess")], {"algorithm": "MD5-sess"}),
    ([challenge("SHA-256-sess")], {"algorithm": "SHA-256-sess"}),
    ([challenge("MD5", "auth,auth-int")], {"qop": "auth"}),
    ([challenge("MD5", "auth-int")], {"qop": "auth-int"}),
    ([challenge("MD5"), challenge("SHA-256", nonce="n2")], {"algorithm": "SHA-256", "nonce": "n2"}),
    ([challenge("SHA-256"), challenge("SHA-512-256", nonce="n2"), challenge("MD5")], {"algorithm": "SHA-512-256"}),
    (['Basic realm="example.com"', challenge("MD5")], {"algorithm": "MD5"}),
    ([challenge("UNKNOWN"), challenge("MD5", nonce="n2")], {"algorithm": "MD5", "nonce": "n2"}),
    ([challenge("MD5", opaque='q\\"uo')], {}),
    ([challenge("md5")], {}),
    ([challenge("MD5", stale="FALSE", domain="sip:example.com")], {}),
    (["Digest  " + challenge().removeprefix("Digest ").replace(", ", " ,\t ")], {"qop": "auth"}),
]


@pytest.mark.parametrize("kind", [WWW, PROXY], ids=["401", "407"])
@pytest.mark.parametrize(("challenges", "expected"), CHALLENGES, ids=lambda value: None)
async def test_a_challenge_is_answered_with_its_strongest_known_algorithm(
    kind: tuple[str, str, int], challenges: list[str], expected: dict[str, str]
) -> None:
    async with ScriptedServer(asking(kind, *challenges)).running() as server:
        publisher = await published(server)
    assert publisher.etag == "e1"
    assert len(server.requests) == 2
    fields = credentials(server.requests[1][kind[1]])
    assert fields["username"] == "alice"
    assert fields["realm"] == "example.com"
    assert expected.items() <= fields.items()
    assert ("opaque" in fields) == any("opaque" in text for text in challenges)
    if "opaque" in fields:
        assert fields["opaque"] == 'q"uo'
    if "qop" in expected:
        assert len(fields["nc"]) == 8
        assert fields["cnonce"]


async def test_the_request_that_answers_is_a_new_one_in_the_same_call() -> None:
    async with ScriptedServer(asking(WWW, challenge())).running() as server:
        await published(server)
    first, second = server.requests
    assert "authorization" not in first
    assert [message["cseq"] for message in (first, second)] == ["1 PUBLISH", "2 PUBLISH"]
    assert first.branch != second.branch
    for name in ("from", "to", "call-id", "event", "expires", "content-type"):
        assert first[name] == second[name]
    assert first.start == second.start
    assert first.body == second.body == DOCUMENT


async def test_credentials_are_made_for_the_method_and_the_request_uri() -> None:
    script = asking(WWW, challenge("SHA-256"))
    async with ScriptedServer(script).running() as server:
        host, _, port = server.address.partition(":")
        seen: list[Notification] = []
        async with UserAgent(Server(host, int(port)), credentials=Credentials("bob", "secret"), patience=10) as agent:
            watcher = Watcher(agent, ALICE, "sip:bob@example.com", seen.append)
            await watcher.subscribe(600)
            await watcher.subscribe(600)
    uris = [message.start.split(" ")[1] for message in server.requests]
    assert uris == [ALICE, ALICE, "sip:127.0.0.1", "sip:127.0.0.1"]
    assert [credentials(m["authorization"])["uri"] for m in server.requests if "authorization" in m] == uris[::2]
    assert [m["cseq"].split()[0] for m in server.requests] == ["1", "2", "3", "4"]


async def test_the_nonce_count_rises_where_a_nonce_comes_again() -> None:
    async with ScriptedServer(asking(WWW, challenge())).running() as server:
        host, _, port = server.address.partition(":")
        async with UserAgent(
            Server(host, int(port)), credentials=Credentials("alice", "secret"), patience=10
        ) as agent:
            publisher = Publisher(agent, ALICE)
            for _ in range(3):
                await publisher.publish(DOCUMENT, 600)
    counts = [credentials(m["authorization"])["nc"] for m in server.requests if "authorization" in m]
    assert counts == ["00000001", "00000002", "00000003"]


@pytest.mark.parametrize("user", ["al ice", 'al"ice', "al\\ice", "älice", ""])
async def test_any_user_name_and_password_can_be_proven(user: str) -> None:
    password = 'p"w: \\ ü'
    async with ScriptedServer(asking(WWW, challenge(), password=password)).running() as server:
        await published(server, password, user)
    assert credentials(server.requests[1]["authorization"])["username"] == user


@pytest.mark.parametrize(
    ("kind", "challenges", "requests"),
    [
        (WWW, [challenge()], 2),
        (PROXY, [challenge("SHA-256")], 2),
        (WWW, ['Basic realm="example.com"'], 1),
        (WWW, [challenge("UNKNOWN")], 1),
        (WWW, ["Digest realm=example"], 1),
        (WWW, ["Digest"], 1),
        (WWW, [""], 1),
        (WWW, [], 1),
    ],
)
async def test_a_refused_password_or_a_challenge_without_sense_is_not_answered_again(
    kind: tuple[str, str, int], challenges: list[str], requests: int
) -> None:
    async with ScriptedServer(asking(kind, *challenges)).running() as server:
        with pytest.raises(RefusedError) as refused:
            await published(server, "wrong")
    assert refused.value.response.status == kind[2]
    assert len(server.requests) == requests


async def test_without_credentials_no_challenge_is_answered() -> None:
    async with ScriptedServer(asking(WWW, challenge())).running() as server:
        host, _, port = server.address.partition(":")
        async with UserAgent(Server(host, int(port)), patience=10) as agent:
            with pytest.raises(RefusedError):
                await Publisher(agent, ALICE).publish(DOCUMENT, 600)
    assert len(server.requests) == 1
