"""Digest authentication, and who may do what, on the wire (group AUT, PUB-24, PUB-25)."""

from pathlib import Path

import pytest

from tests.conformance.digest_client import (
    HASHES,
    REALM,
    Digest,
    challenges,
    digest,
    publish,
    publishes,
    subscribes,
    user,
)
from tests.conformance.observed import publications, subscriptions
from tests.phone import MakePhone, pidf, token
from tests.running_set import RunningSet

# the challenge


@pytest.mark.parametrize("method", ["PUBLISH", "SUBSCRIBE"])
async def test_aut_01_02_03_04_prs_05_who_shows_nothing_is_asked_by_each_algorithm_the_strongest_first(
    digest_set: RunningSet, make_phone: MakePhone, method: str
) -> None:
    phone = await make_phone(digest_set)
    request = phone.publish(body=pidf()) if method == "PUBLISH" else phone.subscribe(phone.dialog(phone.aor))
    response = await phone.request(request)
    rows = challenges(response)
    assert list(rows) == ["SHA-512-256", "SHA-256", "MD5"]
    for row in rows.values():
        assert set(row) == {"realm", "nonce", "algorithm", "qop"}
        assert (row["realm"], row["qop"]) == (f'"{REALM}"', '"auth"')
        assert row["nonce"].startswith('"')
        assert row["nonce"].endswith('"')
    assert response.to_tag
    assert len(response.raw) < 3 * len(request)


async def test_aut_01_a_request_that_is_wrong_anyway_is_told_so_first(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(digest_set)
    assert (await phone.request(phone.publish(extra=("Require: nothing",)))).status == 420


async def test_aut_01_options_and_cancel_are_not_challenged(digest_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(digest_set)
    for method, status in (("OPTIONS", 200), ("CANCEL", 481)):
        headers = [
            f"Via: {phone.via()}", f"From: <{phone.aor}>;tag=1", f"To: <{phone.aor}>", f"Call-ID: {token()}",
            f"CSeq: 1 {method}", "Max-Forwards: 70",
        ]  # fmt: skip
        assert (await phone.request(phone.build(method, phone.aor, headers))).status == status


async def test_aut_23_a_challenge_is_little_more_than_the_request(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(digest_set)
    for domain in ("example.com", f"{'a' * 200}.example"):
        uri = f"sip:u@{domain}"
        request = phone.publish(uri, event="presence")
        response = await phone.request(request)
        assert response.status == 401
        assert len(response.raw) <= 3 * len(request)
    assert (await phone.request(phone.publish(f"sip:u@{'a' * 300}"))).status == 400


# the proof


@pytest.mark.parametrize("algorithm", [*HASHES, *(f"{name}-sess" for name in HASHES)])
async def test_aut_05_pub_24_each_algorithm_proves_who_publishes(
    digest_set: RunningSet, make_phone: MakePhone, algorithm: str
) -> None:
    phone = await user(make_phone, digest_set)
    proof = await digest(phone, algorithm=algorithm.removesuffix("-sess"))
    proof.algorithm = algorithm
    assert (await publishes(phone, proof.header("PUBLISH", phone.aor))).status == 200
    assert len(await publications(digest_set, phone.aor)) == 1


async def test_aut_06_credentials_of_one_method_do_not_serve_another(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await user(make_phone, digest_set)
    proof = await digest(phone)
    row = proof.header("PUBLISH", phone.aor)
    response = await phone.request(phone.subscribe(phone.dialog(phone.aor), extra=(row,)))
    assert response.status == 401
    assert "stale" not in challenges(response)["MD5"]


async def test_aut_07_08_09_pub_24_a_nonce_count_serves_once_and_never_goes_back(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await user(make_phone, digest_set)
    proof = await digest(phone)
    for count, status in ((1, 200), (1, 401), (2, 200), (9, 200), (5, 401), (9, 401), (10, 200), (0xFFFFFFFF, 200)):
        response = await publishes(phone, proof.header("PUBLISH", phone.aor, count=count))
        assert response.status == status, count
        if status == 401:
            assert {row["stale"] for row in challenges(response).values()} == {"true"}
            again = Digest(response, phone.user)
            # A challenge that says stale asks for the same password with its own nonce.
            assert (await publishes(phone, again.header("PUBLISH", phone.aor))).status == 200


async def test_aut_08_a_retransmission_is_no_replay(digest_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await user(make_phone, digest_set)
    proof = await digest(phone)
    request = publish(phone, proof.header("PUBLISH", phone.aor))
    first, second = await phone.request(request), await phone.request(request)
    assert (first.status, second.status) == (200, 200)
    assert first["sip-etag"] == second["sip-etag"]
    assert len(await publications(digest_set, phone.aor)) == 1


async def test_aut_08_a_copy_that_came_another_way_is_no_replay_but_one_with_another_body_is(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await user(make_phone, digest_set)
    proof = await digest(phone)
    original = publish(phone, proof.header("PUBLISH", phone.aor))

    def through_proxy(data: bytes) -> bytes:
        start, _, rest = data.partition(b"\r\n")
        return start + f"\r\nVia: {phone.via()}\r\n".encode() + rest

    first = await phone.request(through_proxy(original))
    second = await phone.request(through_proxy(original))
    assert (first.status, second.status) == (200, 200)
    assert first["sip-etag"] == second["sip-etag"]
    changed = original.replace(b"<basic>open</basic>", b"<basic>shut</basic>")
    assert changed != original
    assert (await phone.request(through_proxy(changed))).status == 401
    assert len(await publications(digest_set, phone.aor)) == 1


async def test_aut_07_a_wrong_password_is_never_stale(digest_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await user(make_phone, digest_set)
    proof = await digest(phone, password="wrong")
    for _ in range(2):
        response = await publishes(phone, proof.header("PUBLISH", phone.aor, count=1))
        assert all("stale" not in row for row in challenges(response).values())


@pytest.mark.parametrize(
    "changes",
    [{"nc": "0000001"}, {"nc": "000000001"}, {"nc": "0000000g"}, {"cnonce": '""'}, {"nc": ""}, {"uri": '""'}],
    ids=str,
)
async def test_aut_09_credentials_that_break_the_grammar_get_400(
    digest_set: RunningSet, make_phone: MakePhone, changes: dict[str, str]
) -> None:
    phone = await user(make_phone, digest_set)
    proof = await digest(phone)
    assert (await publishes(phone, proof.header("PUBLISH", phone.aor, changes=changes))).status == 400


async def test_aut_10_a_request_uri_that_a_proxy_has_rewritten_is_accepted(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    phone, other = await user(make_phone, digest_set), await user(make_phone, digest_set)
    proof = await digest(phone)
    dialog = phone.dialog("sip:alias@presence.example.net")
    row = proof.header("SUBSCRIBE", other.aor)
    assert (await phone.request(phone.subscribe(dialog, extra=(row,)))).status == 200
    dialog = phone.dialog(other.aor)
    row = proof.header("SUBSCRIBE", "sip:somebody@elsewhere.example")
    assert (await phone.request(phone.subscribe(dialog, extra=(row,)))).status == 403
    row = proof.header("SUBSCRIBE", "no uri")
    assert (await phone.request(phone.subscribe(dialog, extra=(row,)))).status == 400


@pytest.mark.parametrize(
    "row",
    [
        "Authorization: Basic YWxpY2U6Y29ycmVjdA==",
        "Authorization: NoOneKnowsThisScheme opaque-data=here",
        'Authorization: Digest username="u", realm="example.com", nonce="n", uri="sip:u@example.com", response="r"',
        'Authorization: Digest username="u", realm="example.com", nonce="n", uri="sip:u@example", algorithm=SHA-3',
        "Authorization:",
    ],
)
async def test_aut_11_12_what_cannot_be_checked_counts_as_nothing(
    digest_set: RunningSet, make_phone: MakePhone, row: str
) -> None:
    phone = await user(make_phone, digest_set)
    assert all("stale" not in one for one in challenges(await publishes(phone, row)).values())


async def test_msg_07_aut_14_the_row_for_our_realm_is_taken(digest_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await user(make_phone, digest_set)
    proof = await digest(phone)
    foreign = [
        proof.header("PUBLISH", phone.aor, changes={"realm": f'"{realm}"'})
        for realm in ("example.net", "Example.com")
    ]
    ours = proof.header("PUBLISH", phone.aor)
    assert (await publishes(phone, foreign[0])).status == 401
    assert (await publishes(phone, foreign[0], extra=(ours, foreign[1]))).status == 200


async def test_aut_15_unknown_users_and_wrong_passwords_get_the_same_answer(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    known, unknown = await user(make_phone, digest_set, "known-user"), await make_phone(digest_set, user="nobody-yet")
    answers = []
    for phone in (known, unknown):
        proof = await digest(phone, password="wrong")
        response = await publishes(phone, proof.header("PUBLISH", phone.aor))
        rows = [row | {"nonce": "", "realm": ""} for row in challenges(response).values()]
        answers.append((response.start, [name for name, _ in response.headers], rows))
    assert answers[0] == answers[1]


async def test_aut_19_the_second_try_is_no_merged_request(digest_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await user(make_phone, digest_set)
    dialog = phone.dialog(phone.aor)
    proof = Digest(await phone.request(phone.subscribe(dialog)), phone.user)
    dialog.cseq += 1
    assert (await subscribes(phone, dialog, proof)).status == 200
    assert (await phone.next_notify()).state == "active"


# who may do what


async def test_aut_16_pub_25_nobody_publishes_for_another_user(digest_set: RunningSet, make_phone: MakePhone) -> None:
    mallory, alice = await user(make_phone, digest_set), await user(make_phone, digest_set)
    proof = await digest(alice)
    assert (await publishes(alice, proof.header("PUBLISH", alice.aor))).status == 200
    before = await publications(digest_set, alice.aor)
    proof = await digest(mallory)
    # From says alice, and so does To: it is her presentity, and his password.
    response = await publishes(mallory, proof.header("PUBLISH", alice.aor), alice.aor)
    assert response.status == 403
    # From says who he is.
    request = publish(mallory, proof.header("PUBLISH", alice.aor), alice.aor)
    own_from = request.replace(f"From: <{alice.aor}>".encode(), f"From: <{mallory.aor}>".encode())
    response = await mallory.request(own_from)
    assert (response.status, response.start) == (403, "SIP/2.0 403 Not your presentity")
    assert await publications(digest_set, alice.aor) == before


async def test_aut_17_a_watcher_is_who_he_has_proved_to_be(digest_set: RunningSet, make_phone: MakePhone) -> None:
    mallory, alice = await user(make_phone, digest_set), await user(make_phone, digest_set)
    proof = await digest(mallory)
    mallory.aor = alice.aor
    assert (await subscribes(mallory, mallory.dialog(alice.aor), proof)).status == 403
    mallory.aor = f"sip:{mallory.user}@{REALM}"
    asserts = f"P-Asserted-Identity: <{alice.aor}>"
    assert (await subscribes(mallory, mallory.dialog(alice.aor), proof, extra=(asserts,))).status == 403
    assert await subscriptions(digest_set, alice.aor) == []
    assert (await subscribes(mallory, mallory.dialog(alice.aor), proof)).status == 200
    assert [item["watcher"] for item in await subscriptions(digest_set, alice.aor)] == [mallory.aor]


async def test_aut_18_prs_05_in_a_dialog_the_same_user_has_to_prove_it_again(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    bob, mallory = await user(make_phone, digest_set), await user(make_phone, digest_set)
    dialog = bob.dialog(bob.aor)
    proof = await digest(bob)
    assert (await subscribes(bob, dialog, proof)).status == 200
    dialog.cseq += 1
    assert (await bob.request(bob.subscribe(dialog))).status == 401
    dialog.cseq += 1
    assert (await subscribes(mallory, dialog, await digest(mallory), expires=0)).status == 403
    assert len(await subscriptions(digest_set, bob.aor)) == 1
    assert (await subscribes(bob, dialog, proof)).status == 200
    dialog.cseq += 1
    assert (await subscribes(bob, dialog, proof, expires=0)).status == 200


async def test_aut_21_a_watcher_that_challenges_notify_keeps_its_subscription(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    bob = await user(make_phone, digest_set)
    bob.answer = lambda _: 401
    dialog = bob.dialog(bob.aor)
    proof = await digest(bob)
    assert (await subscribes(bob, dialog, proof)).status == 200
    await bob.next_notify()
    bob.answer = lambda _: 200
    assert (await publishes(bob, proof.header("PUBLISH", bob.aor))).status == 200
    await bob.notify_where(lambda notify: b"open" in notify.body)
    assert len(await subscriptions(digest_set, bob.aor)) == 1


async def test_aut_22_strangers_leave_nothing_behind(digest_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(digest_set, transport="tcp")
    (edge,) = await digest_set.processes("edge")

    def resident() -> int:
        return int(Path(f"/proc/{edge['pid']}/statm").read_text(encoding="ascii").split()[1]) * 4096

    async def round_of(requests: int) -> None:
        for _ in range(requests // 100):
            branches = [token("z9hG4bK") for _ in range(100)]
            for branch in branches:
                phone.send(phone.subscribe(phone.dialog(phone.aor), branch=branch))
            for branch in branches:
                assert (await phone.next_response(branch)).status == 401
                phone.received.clear()

    await round_of(5_000)
    before = resident()
    await round_of(10_000)
    assert resident() - before < 4 * 1024 * 1024
    assert await subscriptions(digest_set, phone.aor) == []
