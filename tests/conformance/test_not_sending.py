"""When NOTIFYs are sent, in which order, and what their answers do (RFC 6665 section 4.2.2, RFC 5057)."""

import asyncio

import pytest

from tests.conformance.conftest import TIMER_F
from tests.conformance.observed import notes, saying, subscription, subscriptions, until_ended
from tests.phone import Dialog, MakePhone, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet
from tests.wait import until, until_true

FATAL = (404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604)
NOT_FATAL = (302, 400, 401, 403, 406, 407, 408, 413, 415, 420, 486, 488, 491, 500, 502, 503, 504, 600, 603)


def notifies_of(phone: Phone) -> list[Message]:
    """The NOTIFYs that came, without retransmissions, in order."""
    return list({message.branch: message for message in phone.received if not message.is_response}.values())


async def changed(phone: Phone, tag: str, note: str) -> str:
    """The tag after another change of what the phone publishes."""
    response = await phone.request(phone.publish(if_match=tag, body=pidf(phone.aor, note=note)))
    assert response.status == 200
    return response["sip-etag"]


async def watchers(
    running: RunningSet, make_phone: MakePhone, presentity: str, answers: tuple[int, ...]
) -> dict[int, tuple[Phone, Dialog]]:
    """For each status a subscriber that answers with it from its second NOTIFY on."""

    async def subscribe(status: int) -> tuple[Phone, Dialog]:
        phone = await make_phone(running)
        dialog, _ = await phone.subscribed(presentity)
        phone.answer = lambda _: status
        return phone, dialog

    return dict(zip(answers, await asyncio.gather(*map(subscribe, answers)), strict=True))


async def test_not_10_every_change_is_told_to_every_watcher(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice = await make_phone(running_set)
    phones = [await make_phone(running_set, transport=transport) for transport in ("udp", "tcp") * 3]
    for phone in phones:
        await phone.subscribed(alice.aor)
    tag = await alice.published(body=pidf(note="0"))
    for number in range(1, 6):
        for phone in phones:
            assert notes((await phone.next_notify()).body) == [str(number - 1)]
        tag = await changed(alice, tag, str(number))


async def test_not_15_txn_10_these_codes_end_the_subscription(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice = await make_phone(running_set)
    by_status = await watchers(running_set, make_phone, alice.aor, (*FATAL, 200))
    control, control_dialog = by_status.pop(200)
    tag = await alice.published(body=pidf(note="once"))
    for phone, _ in by_status.values():
        assert notes((await phone.next_notify()).body) == ["once"]
    await until_ended(running_set, *(dialog for _, dialog in by_status.values()))
    assert await subscription(running_set, control_dialog)
    await changed(alice, tag, "twice")
    await control.notify_where(saying("twice"))
    for status, (phone, dialog) in by_status.items():
        refused = await phone.request(phone.subscribe(dialog))
        assert (status, refused.status) == (status, 481)
        assert (status, len(notifies_of(phone))) == (status, 2)


async def test_not_15_retry_after_does_not_save_a_subscription_from_these_codes(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    dialog, _ = await bob.subscribed(alice.aor)
    bob.answer = lambda notify: bob.response(notify, 480, "Retry-After: 1")
    await alice.published()
    await until_ended(running_set, dialog)


async def test_not_16_not_18_not_20_other_codes_keep_it_and_cause_no_notify(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice = await make_phone(running_set)
    by_status = await watchers(running_set, make_phone, alice.aor, NOT_FATAL)
    tag = await alice.published(body=pidf(note="once"))
    for phone, _ in by_status.values():
        assert notes((await phone.next_notify()).body) == ["once"]

    async def settled() -> bool:
        return not any(item["notify_outstanding"] for item in await subscriptions(running_set, alice.aor))

    await until(settled, "the answers have come")
    assert len(await subscriptions(running_set, alice.aor)) == len(NOT_FATAL)
    await changed(alice, tag, "twice")
    for status, (phone, dialog) in by_status.items():
        notify = await phone.notify_where(saying("twice"))
        assert notify["call-id"] == dialog.call_id
        numbers = [int(message["cseq"].split()[0]) for message in notifies_of(phone)]
        assert (status, numbers) == (status, list(range(numbers[0], numbers[0] + 3)))


async def test_not_20_a_redirection_is_not_followed(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice, bob, elsewhere = [await make_phone(running_set) for _ in range(3)]
    await bob.subscribed(alice.aor)
    bob.answer = lambda notify: bob.response(notify, 302, f"Contact: {elsewhere.contact}")
    tag = await alice.published(body=pidf(note="once"))
    await bob.next_notify()
    bob.answer = lambda _: 200
    await changed(alice, tag, "twice")
    await bob.notify_where(saying("twice"))
    assert elsewhere.received == []


async def test_not_17_after_retry_after_the_latest_state_is_sent(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    await bob.subscribed(alice.aor)
    loop = asyncio.get_running_loop()
    refused: list[float] = []
    came: list[tuple[float, str]] = []

    def refuse_once(notify: Message) -> bytes:
        [note] = notes(notify.body)
        if note == "refused":
            refused.append(loop.time())
            return bob.response(notify, 503, "Retry-After: 2 (busy)")
        came.append((loop.time(), note))
        return bob.response(notify, 200)

    bob.answer = refuse_once
    tag = await alice.published(body=pidf(note="refused"))
    await bob.notify_where(saying("refused"))
    acknowledged: list[tuple[float, str]] = []
    for number in range(5):
        tag = await changed(alice, tag, str(number))
        acknowledged.append((loop.time(), str(number)))
    await bob.notify_where(saying("4"))
    due = refused[0] + 2
    at, note = came[0]
    assert at >= due
    assert note >= max((known for since, known in acknowledged if since < due), default="0")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_not_11_not_12_not_13_while_one_is_outstanding_the_newer_states_become_one(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set)
    bob = await make_phone(running_set, transport=transport)
    await bob.subscribed(alice.aor)
    free = asyncio.Event()

    async def late(_: Message) -> int:
        await free.wait()
        return 200

    bob.answer = late
    tag = await alice.published(body=pidf(note="0"))
    held = await bob.next_notify()
    for number in range(1, 51):
        tag = await changed(alice, tag, str(number))
    assert len(notifies_of(bob)) == 2
    free.set()
    last = await bob.notify_where(saying("50"))
    numbers = [int(notify["cseq"].split()[0]) for notify in notifies_of(bob)]
    assert numbers == sorted(numbers)
    assert int(last["cseq"].split()[0]) == int(held["cseq"].split()[0]) + 1


async def test_txn_21_a_silent_watcher_delays_nobody(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice = await make_phone(running_set)
    silent = [await make_phone(running_set, transport=transport) for transport in ("udp", "tcp")]
    live = [await make_phone(running_set) for _ in range(5)]
    for phone in (*silent, *live):
        await phone.subscribed(alice.aor)
    for phone in silent:
        phone.answer = lambda _: None
    tag = await alice.published(body=pidf(note="0"))
    for number in range(1, 10):
        for phone in live:
            await phone.notify_where(saying(str(number - 1)))
        tag = await changed(alice, tag, str(number))
    for phone in silent:
        assert len(notifies_of(phone)) <= 2


async def test_not_29_not_30_msg_22_whatever_else_a_2xx_carries_is_ignored(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    dialog, _ = await bob.subscribed(alice.aor)
    tag = await alice.published(body=pidf(note="0"))
    await bob.next_notify()

    def odd(notify: Message) -> bytes:
        plain = bob.response(notify, 202, "Event: presence;max-rate=0.001", "Expires: 0", "Subscription-State: x")
        return plain.replace(b" 202 Whatever\r\n", b" 202 \r\n").replace(
            b"content-length: 0\r\n\r\n", b"content-type: text/plain\r\ncontent-length: 3\r\n\r\nxyz"
        )

    bob.answer = odd
    for note in ("1", "2"):
        tag = await changed(alice, tag, note)
        await bob.notify_where(saying(note))
    assert await subscription(running_set, dialog)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_not_14_not_21_trn_22_a_watcher_whose_socket_is_gone_is_given_up_before_timer_f(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set)
    bob = await make_phone(running_set, transport=transport)
    dialog, _ = await bob.subscribed(alice.aor)
    await bob.close()
    await alice.published()
    await until_ended(running_set, dialog)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_not_14_txn_06_txn_08_without_an_answer_the_subscription_ends_with_timer_f(
    quick_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(quick_set)
    bob = await make_phone(quick_set, transport=transport)
    dialog, _ = await bob.subscribed(alice.aor)
    bob.answer = lambda _: None
    loop = asyncio.get_running_loop()
    before = loop.time()
    tag = await alice.published(body=pidf(note="unanswered"))
    branch = (await bob.next_notify()).branch
    await until_ended(quick_set, dialog)
    assert loop.time() - before >= TIMER_F
    # Timer E doubles up to T2: 11 sends fit in Timer F where no timer is late, 2 where all of them are.
    least, most = (1, 1) if transport == "tcp" else (2, 11)

    def copies() -> list[bytes]:
        return [message.raw for message in bob.received if message.branch == branch]

    await until_true(lambda: len(copies()) >= least, "what was sent has come")
    assert len(set(copies())) == 1
    assert len(copies()) <= most
    await changed(alice, tag, "after")
    bob.answer = lambda _: 200
    assert (await bob.request(bob.subscribe(dialog))).status == 481
    again = bob.dialog(alice.aor)
    assert (await bob.request(bob.subscribe(again))).status == 200
    await bob.notify_where(lambda notify: notify["call-id"] == again.call_id and notes(notify.body) == ["after"])
    assert len(notifies_of(bob)) == 3


async def test_txn_07_a_provisional_answer_does_not_stop_the_retransmissions(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(quick_set), await make_phone(quick_set)
    dialog, _ = await bob.subscribed(alice.aor)
    bob.answer = lambda _: 100
    await alice.published()
    first = await bob.next_notify()
    again = await bob.next_notify()  # how many more fit in Timer F depends on how late each of them is
    assert first.raw == again.raw
    await until_ended(quick_set, dialog)


async def test_txn_09_txn_10_answers_that_come_twice_or_belong_elsewhere_do_nothing(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    dialog, _ = await bob.subscribed(alice.aor)

    def thrice(notify: Message) -> bytes:
        for wrong in (
            bob.response(notify, 481).replace(b" NOTIFY\r\n", b" SUBSCRIBE\r\n"),
            bob.response(notify, 481).replace(notify.branch.encode(), token("z9hG4bK").encode()),
            bob.response(notify, 481).replace(b"SIP/2.0 481", b"SIP/2.0 4810"),
        ):
            bob.send(wrong)
        bob.send(bob.response(notify, 200))
        return bob.response(notify, 481)

    bob.answer = thrice
    tag = await alice.published(body=pidf(note="0"))
    for number in range(1, 4):
        await bob.notify_where(saying(str(number - 1)))
        tag = await changed(alice, tag, str(number))
    assert await subscription(running_set, dialog)


async def test_not_27_two_notifiers_end_a_subscription_once(quick_set: RunningSet, make_phone: MakePhone) -> None:
    alice = await make_phone(quick_set)
    phones = [await make_phone(quick_set) for _ in range(10)]
    control = await make_phone(quick_set)
    dialogs = [(await phone.subscribed(alice.aor, expires=2))[0] for phone in phones]
    kept, _ = await control.subscribed(alice.aor)
    await until_ended(quick_set, *dialogs)
    for phone in phones:
        await phone.notify_where(lambda notify: notify.state == "terminated")
    await alice.published(body=pidf(note="later"))
    await control.notify_where(saying("later"))
    for phone in phones:
        # By branch: a NOTIFY that was answered late comes again, and is no second one.
        states = {item.branch: item["subscription-state"] for item in phone.received if not item.is_response}
        assert list(states.values())[1:] == ["terminated;reason=timeout"]
    assert [item["call_id"] for item in await subscriptions(quick_set, alice.aor)] == [kept.call_id]


async def test_trn_21_a_response_to_a_via_that_is_not_ours_does_nothing(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    bob = await make_phone(running_set)
    dialog = bob.dialog(f"sip:{token('alice')}@example.com")
    learn(dialog, await bob.request(bob.subscribe(dialog)))
    notify = await bob.next_notify()
    bob.send(bob.response(notify, 481).replace(notify.branch.encode(), b"z9hG4bK.1"))
    bob.send(b"SIP/2.0 200 OK\r\n\r\n")
    bob.send(b"SIP/2.0 9999 OK\r\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx\r\n\r\n")
    assert (await bob.request(bob.subscribe(dialog))).status == 200


@pytest.mark.parametrize("names_udp", [False, True], ids=["any", "udp"])
async def test_not_23_trn_16_trn_18_a_large_state_goes_over_tcp_unless_the_contact_names_udp(
    running_set: RunningSet,
    make_phone: MakePhone,
    names_udp: bool,  # noqa: FBT001
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    line: asyncio.Queue[Message] = asyncio.Queue()
    server: asyncio.Server | None = None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            notify = Message.read(head + await reader.readexactly(int(Message.read(head)["content-length"])))
            line.put_nowait(notify)
            writer.write(bob.response(notify, 200))
            await reader.read()
        finally:
            writer.close()

    while server is None:
        try:
            server = await asyncio.start_server(serve, *bob.local)
        except OSError:  # its port is somebody's TCP port
            bob = await make_phone(running_set)
    try:
        host, port = bob.local
        contact = f"<sip:{bob.user}@{host}:{port}{';transport=udp' if names_udp else ''}>"
        dialog = bob.dialog(alice.aor)
        learn(dialog, await bob.request(bob.subscribe(dialog, contact=contact)))
        await bob.next_notify()
        tag = await alice.published(body=pidf(note="x" * 3000))
        large = await bob.next_notify() if names_udp else await asyncio.wait_for(line.get(), 20)
        assert notes(large.body) == ["x" * 3000]
        assert large["via"].startswith(f"SIP/2.0/{'UDP' if names_udp else 'TCP'} ")
        await changed(alice, tag, "small")
        small = await bob.notify_where(saying("small"))
        assert small["via"].startswith("SIP/2.0/UDP ")
        assert line.empty()
    finally:
        server.close()
