"""A SUBSCRIBE that a proxy has forked (RFC 6665 sections 4.1.4 and 4.4.1): each notifier has a dialog of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.conformance.observed import notes, subscriptions
from tests.conformance.rewriting import with_row
from tests.phone import Dialog, MakePhone, Message, Phone, learn, parameter, pidf, token
from tests.running_set import RunningSet


class ForkedClient(Phone):
    """A watcher behind a proxy that forks: one socket, which requests leave from to whichever server is set."""

    def __init__(self) -> None:
        super().__init__(("", 0), "udp", token("bob"))
        self._sources: dict[str, tuple[str, int]] = {}
        self._below = f"Via: SIP/2.0/UDP client.example.com;branch={token('z9hG4bK')}"

    async def open(self) -> None:
        """Bind; unlike a phone it hears every server."""
        client = self

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                message = Message.read(data)
                client._sources[message.branch] = addr
                client._take(data)

        loop = asyncio.get_running_loop()
        self._datagrams, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
        self.local = self._datagrams.get_extra_info("sockname")[:2]

    def send(self, data: bytes) -> None:
        """A request to the server, a response to where its request came from."""
        message = Message.read(data)
        assert self._datagrams is not None
        self._datagrams.sendto(data, self._sources[message.branch] if message.is_response else self.server)

    async def fork(self, running: RunningSet, dialog: Dialog) -> None:
        """Send one of the forked requests: only the proxy's Via differs, and where it goes."""
        self.server = running.sip
        response = await self.request(with_row(self.subscribe(dialog), self._below))
        assert response.status == 200
        learn(dialog, response)

    async def refresh(self, running: RunningSet, dialog: Dialog, expires: int) -> None:
        """A SUBSCRIBE in one of the dialogs."""
        self.server = running.sip
        response = await self.request(self.subscribe(dialog, expires=expires))
        assert (response.status, response.to_tag) == (200, dialog.to_tag)
        learn(dialog, response)


@pytest.fixture
async def client() -> AsyncIterator[ForkedClient]:
    opened = ForkedClient()
    await opened.open()
    yield opened
    await opened.close()


def forks(first: Dialog, presentity: str | None = None) -> Dialog:
    """What the other branch of the request makes of it."""
    return Dialog(presentity or first.presentity, first.call_id, first.from_tag, first.cseq)


def dialog_of(notify: Message) -> str:
    """The tag of the notifier."""
    return parameter(notify["from"], "tag") or ""


async def test_sub_26_two_notifiers_that_a_subscribe_was_forked_to_have_a_dialog_each(
    running_set: RunningSet, strict_set: RunningSet, make_phone: MakePhone, client: ForkedClient
) -> None:
    """Two clusters that know nothing of each other."""
    one = client.dialog(f"sip:{token('alice')}@example.com")
    other = forks(one)
    await client.fork(running_set, one)
    await client.fork(strict_set, other)
    assert one.to_tag != other.to_tag
    first = {dialog_of(notify): notify for notify in [await client.next_notify(), await client.next_notify()]}
    assert set(first) == {one.to_tag, other.to_tag}
    assert {notify["call-id"] for notify in first.values()} == {one.call_id}
    assert {parameter(notify["to"], "tag") for notify in first.values()} == {one.from_tag}

    for running, dialog in ((running_set, one), (strict_set, other)):
        alice = await make_phone(running)
        await alice.published(one.presentity, body=pidf(note=dialog.to_tag))
        notify = await client.next_notify()
        assert (dialog_of(notify), notes(notify.body)) == (dialog.to_tag, [dialog.to_tag])
        assert int(notify["cseq"].split()[0]) == int(first[dialog.to_tag]["cseq"].split()[0]) + 1

    await client.refresh(running_set, one, expires=0)
    last = await client.next_notify()
    assert (dialog_of(last), last.state) == (one.to_tag, "terminated")
    await client.refresh(strict_set, other, expires=600)
    still = await client.next_notify()
    assert (dialog_of(still), still.state) == (other.to_tag, "active")
    assert await subscriptions(running_set, one.presentity) == []
    assert len(await subscriptions(strict_set, one.presentity)) == 1
    assert client.nothing_waits()


async def test_sub_26_one_notifier_that_is_reached_by_two_names_has_a_dialog_for_each(
    running_set: RunningSet, client: ForkedClient
) -> None:
    one = client.dialog(f"sip:{token('alice')}@example.com")
    other = forks(one, f"sip:{token('alice')}@example.net")
    for dialog in (one, other):
        await client.fork(running_set, dialog)
    assert one.to_tag != other.to_tag
    tags = {dialog_of(await client.next_notify()) for _ in range(2)}
    assert tags == {one.to_tag, other.to_tag}
    for dialog in (one, other):
        assert len(await subscriptions(running_set, dialog.presentity)) == 1
        await client.refresh(running_set, dialog, expires=600)
        assert dialog_of(await client.next_notify()) == dialog.to_tag


async def test_sub_22_sub_26_one_notifier_that_a_request_reaches_twice_has_one_dialog(
    running_set: RunningSet, client: ForkedClient
) -> None:
    """The same request by two ways is one request (invariant 2)."""
    one = client.dialog(f"sip:{token('alice')}@example.com")
    other = forks(one)
    for dialog in (one, other):
        await client.fork(running_set, dialog)
    assert one.to_tag == other.to_tag
    assert len(await subscriptions(running_set, one.presentity)) == 1
    await client.next_notify()
    await client.refresh(running_set, one, expires=0)
    assert (await client.next_notify()).state == "terminated"
    assert client.nothing_waits()
