"""A phone and a watcher through the published port: publish, watch, change, refresh, remove, unsubscribe."""

import contextlib
from collections.abc import AsyncIterator

from tests.compose.engine import Project
from tests.phone import Dialog, Message, Phone, learn, pidf, token
from tests.wait import until

TRANSPORTS = ("udp", "tcp")


@contextlib.asynccontextmanager
async def phone(project: Project, transport: str) -> AsyncIterator[Phone]:
    """A phone of a user whom nobody else is."""
    opened = Phone(project.sip, transport, token("u"))
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


def ok(response: Message) -> Message:
    """The response, which is a 200."""
    assert response.status == 200, response.start
    return response


async def every_exchange(project: Project, transport: str) -> int:
    """Everything that a publisher and a watcher do to each other; how many requests they sent."""
    async with phone(project, transport) as alice, phone(project, transport) as bob:
        tag = await alice.published(body=pidf(alice.aor, note="one"))
        dialog, first = await bob.subscribed(alice.aor)
        assert project.sip_address in dialog.target, f"Contact is {dialog.target}"
        assert first.state == "active"
        assert b"<note>one</note>" in first.body
        tag = await _publishes(alice, tag, "two")
        await _told(bob, "two")
        refreshed = ok(await alice.request(alice.publish(if_match=tag)))
        assert (await alice.request(alice.publish(if_match=tag))).status == 412, "the entity tag before is not over"
        await _refreshes(bob, dialog, "two")
        await _listed(project, alice.aor, ["active"])
        ok(await alice.request(alice.publish(if_match=refreshed["sip-etag"], expires=0)))
        await bob.notify_where(lambda notify: b"<note>" not in notify.body)
        response = ok(await bob.request(bob.subscribe(dialog, expires=0)))
        assert response["expires"] == "0"
        ended = await bob.notify_where(lambda notify: notify.state == "terminated")
        assert "timeout" in ended["subscription-state"]
        await _listed(project, alice.aor, [])
        return sum(message.is_response and message.status >= 200 for message in alice.received + bob.received)


async def _publishes(who: Phone, tag: str, note: str) -> str:
    response = ok(await who.request(who.publish(body=pidf(who.aor, note=note), if_match=tag)))
    return response["sip-etag"]


async def _told(who: Phone, note: str) -> Message:
    return await who.notify_where(lambda notify: f"<note>{note}</note>".encode() in notify.body)


async def _refreshes(who: Phone, dialog: Dialog, note: str) -> None:
    response = ok(await who.request(who.subscribe(dialog)))
    assert response.to_tag == dialog.to_tag
    learn(dialog, response)
    await _told(who, note)


async def _listed(project: Project, presentity: str, states: list[str]) -> None:
    """The REST API lists these subscriptions, and nothing is owed to them."""

    async def listed() -> bool:
        items = (await project.get("/api/v1/subscriptions", presentity=presentity))["items"]
        settled = all(
            item["notify_version"] == item["presentity_version"] and not item["notify_outstanding"] for item in items
        )
        return settled and [item["status"] for item in items] == states

    await until(listed, f"subscriptions to {presentity} are {states}")


class Kept:
    """A publication and a subscription that are made before everything stops, and go on after it."""

    def __init__(self, project: Project, transport: str) -> None:
        self._project = project
        self._transport = transport
        self._user = token("u")
        self._presentity = f"sip:{token('u')}@example.com"
        self._tag = ""
        self._dialog: Dialog | None = None
        self._cseq = 0

    @contextlib.asynccontextmanager
    async def _line(self) -> AsyncIterator[Phone]:
        """The same user, over a new socket each time: the one before did not outlive the server."""
        line = Phone(self._project.sip, self._transport, self._user)
        await line.open()
        try:
            yield line
        finally:
            await line.close()

    async def begin(self) -> None:
        """Publish and subscribe."""
        async with self._line() as line:
            self._tag = await line.published(self._presentity, body=pidf(self._presentity, note="before"))
            self._dialog, first = await line.subscribed(self._presentity)
            assert b"<note>before</note>" in first.body
            self._cseq = int(first["cseq"].split()[0])

    async def go_on(self) -> None:
        """Refresh both: the state of before comes, and then a change."""
        assert self._dialog is not None
        async with self._line() as line:
            refreshed = ok(await line.request(line.publish(self._presentity, if_match=self._tag)))
            self._tag = refreshed["sip-etag"]
            learn(self._dialog, ok(await line.request(line.subscribe(self._dialog))))
            again = await _told(line, "before")
            assert int(again["cseq"].split()[0]) > self._cseq, "a CSeq was used again"
            body = pidf(self._presentity, note="after")
            changed = ok(await line.request(line.publish(self._presentity, body=body, if_match=self._tag)))
            self._tag = changed["sip-etag"]
            await _told(line, "after")

    async def end(self) -> None:
        """Unsubscribe and remove."""
        assert self._dialog is not None
        async with self._line() as line:
            ok(await line.request(line.subscribe(self._dialog, expires=0)))
            await line.notify_where(lambda notify: notify.state == "terminated")
            ok(await line.request(line.publish(self._presentity, if_match=self._tag, expires=0)))
