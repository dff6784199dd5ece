"""The event package message-summary on the wire (RFC 3842; rows MWI)."""

import pytest

from tests.conformance.observed import publications
from tests.phone import Dialog, MakePhone, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet

EVENT = "message-summary"
TYPE = "application/simple-message-summary"


def mailbox() -> str:
    return f"sip:{token('alice')}@example.com"


def summary(waiting: str = "yes", *lines: str) -> bytes:
    return "\r\n".join([f"Messages-Waiting: {waiting}", *lines, ""]).encode()


async def publish(
    phone: Phone,
    uri: str,
    body: bytes,
    *,
    tag: str | None = None,
    expires: int | None = 600,
    content_type: str = TYPE,
) -> Message:
    return await phone.request(
        phone.publish(uri, body=body, event=EVENT, content_type=content_type, if_match=tag, expires=expires)
    )


async def subscribe(
    phone: Phone, uri: str, *, accept: str | None = TYPE, expires: int | None = 600
) -> tuple[Dialog, Message]:
    """The dialog and the first NOTIFY."""
    dialog = phone.dialog(uri)
    response = await phone.request(phone.subscribe(dialog, event=EVENT, accept=accept, expires=expires))
    assert response.status == 200
    learn(dialog, response)
    notify = await phone.next_notify()
    assert (notify["event"], notify["content-type"]) == (EVENT, TYPE)
    return dialog, notify


def lines(notify: Message) -> list[str]:
    assert notify.body.endswith(b"\r\n")
    return notify.body.decode().split("\r\n")[:-1]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("accept", [TYPE, None, "*/*"])
async def test_mwi_01_mwi_02_mwi_03_mwi_12_a_mailbox_is_watched_from_empty_to_full_and_back(
    running_set: RunningSet, make_phone: MakePhone, transport: str, accept: str | None
) -> None:
    uri = mailbox()
    server, bob = await make_phone(running_set), await make_phone(running_set, transport=transport)
    _, first = await subscribe(bob, uri, accept=accept)
    assert lines(first) == ["Messages-Waiting: no", f"Message-Account: {uri}"]
    response = await publish(
        server, uri, summary("yes", "Message-Account: <sip:vm@example.com>", "voice-message: 2/8(0/2)")
    )
    assert response.status == 200
    notify = await bob.next_notify()
    assert lines(notify) == [
        "Messages-Waiting: yes",
        "Message-Account: sip:vm@example.com",
        "Voice-Message: 2/8 (0/2)",
    ]
    assert (await publish(server, uri, b"", tag=response["sip-etag"], expires=0)).status == 200
    assert lines(await bob.next_notify())[0] == "Messages-Waiting: no"


async def test_mwi_09_an_hour_is_granted_where_nothing_is_asked(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    response = await publish(phone, phone.aor, summary(), expires=None)
    assert (response.status, response["expires"]) == (200, "3600")
    dialog = phone.dialog(phone.aor)
    response = await phone.request(phone.subscribe(dialog, event=EVENT, accept=None, expires=None))
    assert (response.status, response["expires"]) == (200, "3600")


async def test_mwi_12_the_lamp_goes_out_when_the_summary_expires(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = mailbox()
    server, bob = await make_phone(running_set), await make_phone(running_set)
    assert (await publish(server, uri, summary(), expires=2)).status == 200
    await subscribe(bob, uri)
    notify = await bob.notify_where(lambda notify: b"Messages-Waiting: no" in notify.body)
    assert lines(notify) == ["Messages-Waiting: no", f"Message-Account: {uri}"]


async def test_the_summary_that_came_last_wins_until_it_is_removed(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = mailbox()
    voice, fax, bob = [await make_phone(running_set) for _ in range(3)]
    assert (await publish(voice, uri, summary("yes", "Voice-Message: 1/0"))).status == 200
    tag = (await publish(fax, uri, summary("yes", "Fax-Message: 3/0")))["sip-etag"]
    _, first = await subscribe(bob, uri)
    assert lines(first)[2:] == ["Fax-Message: 3/0"]
    assert (await publish(fax, uri, b"", tag=tag, expires=0)).status == 200
    assert lines(await bob.next_notify())[2:] == ["Voice-Message: 1/0"]


async def test_mwi_02_mwi_06_mwi_07_two_watchers_see_the_same_counts_and_no_headers_of_messages(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = mailbox()
    server, bob, carol = [await make_phone(running_set) for _ in range(3)]
    body = summary("yes", "Voice-Message: 1/0", "", "From: <sip:dave@example.com>", "Message-ID: 1@example.com")
    assert (await publish(server, uri, body)).status == 200
    seen = [lines((await subscribe(phone, uri))[1]) for phone in (bob, carol)]
    assert seen == [["Messages-Waiting: yes", f"Message-Account: {uri}", "Voice-Message: 1/0"]] * 2


async def test_mwi_03_mwi_04_mwi_11_what_is_no_summary_gets_400_and_another_type_415(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    for body in (b"Messages-Waiting: maybe\r\n", b"Voice-Message: 1/0\r\n", b"Messages-Waiting: yes\r\nhello\r\n"):
        response = await publish(phone, phone.aor, body)
        assert (response.status, "Message summary" in response.start) == (400, True)
    response = await publish(phone, phone.aor, pidf(), content_type="application/pidf+xml")
    assert (response.status, response["accept"]) == (415, TYPE)
    assert (await publish(phone, phone.aor, b"")).status == 400
    assert await publications(running_set, phone.aor, EVENT) == []
    lax = b"messages-waiting:yes\nvoice-message:4294967296/0"
    assert (await publish(phone, phone.aor, lax)).status == 200
    _, first = await subscribe(phone, phone.aor)
    assert lines(first)[2:] == ["Voice-Message: 4294967295/0"]


async def test_mwi_01_a_watcher_that_wants_another_type_gets_406(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    response = await phone.request(phone.subscribe(phone.dialog(phone.aor), event=EVENT, accept="text/plain"))
    assert (response.status, response["accept"]) == (406, TYPE)


async def test_mwi_10_nobody_is_notified_who_did_not_subscribe(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = mailbox()
    server, bob = await make_phone(running_set), await make_phone(running_set)
    await bob.subscribed(uri)
    assert (await publish(server, uri, summary())).status == 200
    await server.published(uri, body=pidf(note="a change that bob watches"))
    notify = await bob.next_notify()
    assert notify["event"] == "presence", "of the mailbox, which changed before, he hears nothing"
