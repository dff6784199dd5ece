"""The parameters of authentication, each changed, over two edges; and trusted peers."""

import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.digest_client import Digest, add_user, challenges, publish, publishes, remove_user
from tests.conformance.observed import publications, subscriptions
from tests.phone import MakePhone, Message, Phone, pidf, token
from tests.running_set import RunningSet, started
from tests.wait import until

REALM = "users.example"
PROXY = "127.0.0.2"
LIFETIME = 2


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def changed_set() -> AsyncIterator[RunningSet]:
    """Two edges, and every parameter other than its default."""
    extra = {
        "VEDETTE_AUTH": "digest",
        "VEDETTE_TRUSTED_PEERS": f"192.0.2.0/24, {PROXY}",
        "VEDETTE_REALM": REALM.title(),
        "VEDETTE_DIGEST_ALGORITHMS": "MD5, SHA-256",
        "VEDETTE_NONCE_LIFETIME": str(LIFETIME),
        "VEDETTE_USERS_MAX_AGE": "0",
    }
    async with started("--cores", "1", "--edges", "2", extra=extra) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def trusting_set() -> AsyncIterator[RunningSet]:
    """Only the proxy may send."""
    extra = {"VEDETTE_TRUSTED_PEERS": PROXY}
    async with started("--cores", "1", "--auth", "trusted", extra=extra) as running:
        yield running


async def user(make_phone: MakePhone, running: RunningSet) -> Phone:
    phone = await make_phone(running, user=token("user"))
    phone.aor = f"sip:{phone.user}@{REALM}"
    await add_user(running, f"{phone.user}@{REALM}")
    return phone


async def digest(phone: Phone, password: str | None = None) -> Digest:
    asked = await phone.request(phone.publish(body=pidf(phone.aor)))
    return Digest(asked, phone.user, password) if password else Digest(asked, phone.user)


async def answered(phone: Phone) -> Message:
    """The answer to a PUBLISH with a new nonce; it may be too old by the time it comes, on a busy machine."""
    while True:
        response = await publishes(phone, (await digest(phone)).header("PUBLISH", phone.aor))
        if response.status != 401 or all("stale" not in row for row in challenges(response).values()):
            return response


async def status(phone: Phone) -> int:
    """Of that answer."""
    return (await answered(phone)).status


async def test_parameter_realm_and_digest_algorithms_are_what_is_asked_for(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(changed_set)
    rows = challenges(await phone.request(phone.publish(body=pidf(phone.aor))))
    assert [(name, row["realm"]) for name, row in rows.items()] == [
        ("SHA-256", f'"{REALM}"'),
        ("MD5", f'"{REALM}"'),
    ]
    ours = await user(make_phone, changed_set)
    assert await status(ours) == 200
    # The user is of the realm, whatever From says; and From says another one.
    await add_user(changed_set, f"{phone.user}@{REALM}")
    assert await status(phone) == 403


async def test_parameter_digest_algorithms_what_is_not_offered_is_not_taken(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await user(make_phone, changed_set)
    proof = await digest(phone)
    proof.algorithm = "SHA-512-256"
    rows = challenges(await publishes(phone, proof.header("PUBLISH", phone.aor)))
    assert all("stale" not in row for row in rows.values())


async def test_parameter_nonce_lifetime_aut_07_an_old_nonce_is_stale_where_the_password_is_right(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await user(make_phone, changed_set)
    proof, wrong = await digest(phone), await digest(phone, "wrong")

    async def stale() -> bool:
        response = await publishes(phone, proof.header("PUBLISH", phone.aor))
        if response.status == 200:
            return False
        assert {row["stale"] for row in challenges(response).values()} == {"true"}
        return True

    await until(stale, "the nonce is too old")
    rows = challenges(await publishes(phone, wrong.header("PUBLISH", phone.aor)))
    assert all("stale" not in row for row in rows.values())
    assert await status(phone) == 200


async def test_parameter_users_max_age_a_user_who_is_removed_is_a_stranger(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await user(make_phone, changed_set)
    assert await status(phone) == 200
    await remove_user(changed_set, f"{phone.user}@{REALM}")
    assert await status(phone) == 401
    await add_user(changed_set, f"{phone.user}@{REALM}")
    assert await status(phone) == 200


async def test_parameter_redis_url_aut_08_pub_24_what_one_edge_took_no_other_one_takes(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    """The kernel spreads sockets over the two edges: of many that say the same one is heard."""
    first = await user(make_phone, changed_set)
    others = [await make_phone(changed_set, user=first.user) for _ in range(12)]
    for other in others:
        other.aor = first.aor
    while True:
        proof = await digest(first)
        answers = [
            await publishes(phone, proof.header("PUBLISH", first.aor, count=count))
            for count, phone in ((1, first), *((1, other) for other in others), (2, others[0]))
        ]
        if answers[0].status == answers[-1].status == 200:
            break  # else the nonce grew too old meanwhile
    assert [answer.status for answer in answers[1:-1]] == [401] * len(others)
    both = [row["pid"] for row in await changed_set.processes("edge")]
    assert len(both) == 2


async def test_aut_08_a_copy_through_another_edge_has_the_answer_of_its_original(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    first = await user(make_phone, changed_set)
    others = [await make_phone(changed_set) for _ in range(8)]
    while True:
        request = publish(first, (await digest(first)).header("PUBLISH", first.aor))
        start, _, rest = request.partition(b"\r\n")
        copies = [start + f"\r\nVia: {other.via()}\r\n".encode() + rest for other in others]
        answers = [await other.request(copy) for other, copy in zip(others, copies, strict=True)]
        if all(answer.status == 200 for answer in answers):
            break
    assert len({answer["sip-etag"] for answer in answers}) == 1


async def test_sec_08_without_presence_core_nobody_can_be_checked(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await user(make_phone, changed_set)
    pid = await changed_set.kill("core", number=signal.SIGSTOP)
    try:
        response = await answered(phone)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert response.status == 503
    assert "retry-after" in response

    async def works() -> bool:
        return await status(phone) == 200

    await until(works, "the core works again")


# trusted peers


@pytest.mark.parametrize("mode", ["digest", "trusted"])
async def test_parameter_trusted_peers_a_proxy_speaks_for_its_users(
    changed_set: RunningSet, trusting_set: RunningSet, make_phone: MakePhone, mode: str
) -> None:
    running = changed_set if mode == "digest" else trusting_set
    proxy, stranger = await make_phone(running, source=PROXY), await make_phone(running)
    alice = f"sip:{token('alice')}@example.com"
    assert (await proxy.request(proxy.publish(alice, body=pidf(alice)))).status == 200
    assert len(await publications(running, alice)) == 1
    asserted = (f"P-Asserted-Identity: <{alice}>",)
    dialog = proxy.dialog(alice)
    response = await proxy.request(proxy.subscribe(dialog, extra=asserted))
    assert response.status == 200
    assert [item["watcher"] for item in await subscriptions(running, alice)] == [alice]
    # Without an assertion From is taken for it; in the dialog of somebody who was named it is not asked about.
    plain = proxy.dialog(alice)
    assert (await proxy.request(proxy.subscribe(plain))).status == 200
    assert {item["watcher"] for item in await subscriptions(running, alice)} == {alice, proxy.aor}
    dialog.cseq, dialog.to_tag, dialog.target = 2, response.to_tag or "", response["contact"].strip("<>")
    other = (f"P-Asserted-Identity: <{proxy.aor}>",)
    assert (await proxy.request(proxy.subscribe(dialog, extra=other))).status == 403
    dialog.cseq = 3
    assert (await proxy.request(proxy.subscribe(dialog, extra=asserted))).status == 200
    refused = [
        await stranger.request(stranger.publish(alice, body=pidf(alice), extra=asserted)),
        await stranger.request(stranger.subscribe(stranger.dialog(alice), extra=asserted)),
    ]
    assert [answer.status for answer in refused] == [401 if mode == "digest" else 403] * 2


async def test_parameter_auth_trusted_asks_nobody(trusting_set: RunningSet, make_phone: MakePhone) -> None:
    stranger = await make_phone(trusting_set)
    response = await stranger.request(stranger.publish(body=pidf(stranger.aor)))
    assert (response.status, "www-authenticate" in response) == (403, False)
    assert (await stranger.request(stranger.build("OPTIONS", stranger.aor, [
        f"Via: {stranger.via()}", f"From: <{stranger.aor}>;tag=1", f"To: <{stranger.aor}>", "Call-ID: c",
        "CSeq: 1 OPTIONS", "Max-Forwards: 70",
    ]))).status == 200  # fmt: skip


async def test_parameter_auth_none_takes_credentials_for_nothing(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    row = 'Authorization: Digest username="u", realm="example.com", nonce="n", uri="sip:a@b", response="r"'
    assert (await publishes(phone, row, f"sip:{token()}@example.com")).status == 200
