"""The event packages dialog and dialog;sla on the wire (RFC 4235; rows DLI; "stuck lamps": peers.md, section 7)."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.observed import publications, subscriptions
from tests.dialog_info import TYPE, SeenDialogs, call, dialogs, read
from tests.phone import Dialog, MakePhone, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet, started
from tests.wait import until


def line() -> str:
    return f"sip:{token('alice')}@example.com"


class Lamp:
    """A phone that watches the calls of a line; the numbers of its documents have no gaps.

    It is one of the line's own domain: nobody else may watch unless rules say so.
    """

    def __init__(self, phone: Phone, presentity: str, event: str = "dialog") -> None:
        phone.aor = f"sip:{phone.user}@{presentity.rpartition('@')[2]}"
        self.phone = phone
        self.event = event
        self.dialog: Dialog = phone.dialog(presentity)
        self.version = -1

    async def subscribe(self, *, expires: int | None = 600, accept: str | None = TYPE) -> Message:
        """The response to a SUBSCRIBE: the first one, or a later one in its dialog."""
        # UDP by name: what is too large for it would be tried over TCP first, at a port that may be somebody else's.
        contact = self.phone.contact.replace(">", ";transport=udp>") if self.phone.transport == "udp" else None
        request = self.phone.subscribe(self.dialog, event=self.event, accept=accept, expires=expires, contact=contact)
        response = await self.phone.request(request)
        assert response.status == 200
        learn(self.dialog, response)
        return response

    async def next(self) -> SeenDialogs:
        """The document of the next NOTIFY."""
        notify = await self.phone.next_notify()
        assert (notify["event"], notify["content-type"]) == (self.event, TYPE)
        seen = read(notify.body)
        assert (seen.version, seen.state) == (self.version + 1, "full")
        self.version = seen.version
        return seen

    async def shows(self, *states: str) -> SeenDialogs:
        """Return when the line has calls in just these states."""
        while True:
            seen = await self.next()
            if seen.states == list(states):
                return seen


async def watching(running: RunningSet, make_phone: MakePhone, presentity: str, event: str = "dialog") -> Lamp:
    lamp = Lamp(await make_phone(running), presentity, event)
    await lamp.subscribe()
    await lamp.next()
    return lamp


async def send(
    phone: Phone,
    uri: str,
    body: bytes,
    *,
    tag: str | None = None,
    expires: int | None = 600,
    event: str = "dialog",
    extra: tuple[str, ...] = (),
) -> Message:
    """The answer to a PUBLISH."""
    return await phone.request(
        phone.publish(uri, body=body, event=event, content_type=TYPE, if_match=tag, expires=expires, extra=extra)
    )


async def published(phone: Phone, uri: str, body: bytes, *, tag: str | None = None, expires: int | None = 600) -> str:
    """The entity tag."""
    response = await send(phone, uri, body, tag=tag, expires=expires)
    assert response.status == 200, response.start
    return response["sip-etag"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("accept", [TYPE, None])
async def test_dli_01_dli_02_dli_03_dli_04_dli_13_a_lamp_follows_a_call(
    running_set: RunningSet, make_phone: MakePhone, transport: str, accept: str | None
) -> None:
    uri = line()
    proxy = await make_phone(running_set)
    lamp = Lamp(await make_phone(running_set, transport=transport), uri)
    response = await lamp.subscribe(accept=accept, expires=None)
    assert response["expires"] == "3600"
    seen = await lamp.next()
    assert (seen.version, seen.entity, seen.dialogs) == (0, uri, [])
    tag = None
    for state in ("trying", "early", "confirmed", "terminated"):
        tag = await published(proxy, uri, dialogs(call(state, "a"), entity="sip:whoever@x"), tag=tag)
        assert (await lamp.next()).dialogs == [("a", state)]
    await published(proxy, uri, b"", tag=tag, expires=0)
    await published(proxy, uri, dialogs(call("early", "b")))
    assert (await lamp.shows("early", "terminated")).entity == uri


async def test_dli_02_every_watcher_has_numbers_of_its_own(running_set: RunningSet, make_phone: MakePhone) -> None:
    uri = line()
    proxy = await make_phone(running_set)
    first = await watching(running_set, make_phone, uri)
    tag = await published(proxy, uri, dialogs(call("early", "a")))
    await first.shows("early")
    second = await watching(running_set, make_phone, uri)
    await published(proxy, uri, dialogs(call("confirmed", "a")), tag=tag)
    assert (await first.shows("confirmed")).version == 2
    assert (await second.shows("confirmed")).version == 1
    await second.subscribe()
    assert (await second.next()).version == 2


async def test_dli_02_a_document_that_did_not_change_is_not_sent(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = line()
    proxy = await make_phone(running_set)
    lamp = await watching(running_set, make_phone, uri)

    async def settled() -> bool:
        return not any(item["notify_outstanding"] for item in await subscriptions(running_set, uri))

    await until(settled, "the first NOTIFY is answered")
    tag = await published(proxy, uri, dialogs(call("confirmed", "a")))
    await lamp.next()
    await until(settled, "the NOTIFY is answered")
    same = dialogs(call("confirmed", "a")).replace(b'version="7"', b'version="8"')
    tag = await published(proxy, uri, same, tag=tag)
    tag = await published(proxy, uri, b"", tag=tag)
    await published(proxy, uri, dialogs(call("terminated", "a")), tag=tag)
    assert (await lamp.next()).states == ["terminated"]


async def test_cmp_14_dli_09_calls_of_several_publishers_are_shown_together(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = line()
    desk, mobile = await make_phone(running_set), await make_phone(running_set)
    lamp = await watching(running_set, make_phone, uri)
    await published(desk, uri, dialogs(call("confirmed", "a", name="1")))
    await lamp.shows("confirmed")
    tag = await published(mobile, uri, dialogs(call("early", "b", name="1"), call("trying", "c", name="2")))
    seen = await lamp.shows("early", "confirmed", "trying")
    assert [name.partition(".")[0] for name, _ in seen.dialogs] == ["1", "1", "2"]
    await published(mobile, uri, b"", tag=tag, expires=0)
    assert (await lamp.shows("confirmed")).dialogs == [("1", "confirmed")]


async def test_dli_05_dli_06_a_watcher_may_ask_for_one_dialog(running_set: RunningSet, make_phone: MakePhone) -> None:
    uri = line()
    proxy = await make_phone(running_set)
    one, other = call("confirmed", "a@h", local="l", remote="r"), call("confirmed", "b", local="l", remote="r")
    tag = await published(proxy, uri, dialogs(one, other))
    everything = Lamp(await make_phone(running_set), uri)
    await everything.subscribe()
    assert (await everything.next()).states == ["confirmed"] * 2
    lamps = {}
    for parameters, found in (("to-tag=l;from-tag=r", ["a@h"]), ("to-tag=l", ["a@h"]), ("to-tag=r;from-tag=l", [])):
        lamp = Lamp(await make_phone(running_set), uri)
        request = lamp.phone.subscribe(lamp.dialog, event=f'dialog;call-id="a@h";{parameters}', accept=TYPE)
        assert (await lamp.phone.request(request)).status == 200
        assert [name for name, _ in (await lamp.next()).dialogs] == found
        lamps[parameters] = lamp
    await published(proxy, uri, dialogs(call("terminated", "a@h", local="l", remote="r"), other), tag=tag)
    for parameters in ("to-tag=l;from-tag=r", "to-tag=l"):
        assert (await lamps[parameters].next()).dialogs == [("a@h", "terminated")]


# lamps that must not stay lit


async def test_dli_15_a_publisher_that_does_not_wait_for_its_tag_leaves_no_lamp_lit(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """peers.md 7, row 1: Kamailio sends `trying`, `early` ... milliseconds apart, each as a new publication."""
    uri = line()
    proxy = await make_phone(running_set)
    lamp = await watching(running_set, make_phone, uri)
    states = ("trying", "early", "confirmed", "terminated")
    for state in states:
        await published(proxy, uri, dialogs(call(state, "a")), expires=3600)
    await lamp.shows("terminated")
    again = await watching(running_set, make_phone, uri)
    await again.subscribe(expires=0)
    assert (await again.next()).states == ["terminated"]


async def test_dli_15_a_lamp_stays_dark_when_the_end_expires_before_what_was_published_of_the_call(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """peers.md 7, row 1: Kamailio publishes the end for 11 seconds, and the rest for hours."""
    uri = line()
    proxy = await make_phone(running_set)
    lamp = await watching(running_set, make_phone, uri)
    for state in ("early", "confirmed"):
        await published(proxy, uri, dialogs(call(state, "a")), expires=3600)
        await lamp.shows(state)
    await published(proxy, uri, dialogs(call("terminated", "a")), expires=2)
    await lamp.shows("terminated")
    await lamp.shows()
    late = await send(proxy, uri, dialogs(call("early", "a")))
    assert (late.status, await publications(running_set, uri, "dialog")) == (200, [])
    assert (await send(proxy, uri, b"", tag=late["sip-etag"])).status == 412


@pytest.mark.parametrize("with_body", [True, False])
async def test_dli_15_a_state_that_comes_after_the_end_lights_no_lamp(
    running_set: RunningSet, make_phone: MakePhone, *, with_body: bool
) -> None:
    """peers.md 7, row 1: the publication that said `terminated` is gone already when a late `early` arrives."""
    uri = line()
    proxy = await make_phone(running_set)
    lamp = await watching(running_set, make_phone, uri)
    ended = dialogs(call("terminated", "a", local="l", remote="r"))
    tag = await published(proxy, uri, dialogs(call("confirmed", "a", local="l", remote="r")))
    await lamp.shows("confirmed")
    if with_body:
        gone = await send(proxy, uri, ended, tag=tag, expires=0)
    else:
        tag = await published(proxy, uri, ended, tag=tag)
        gone = await send(proxy, uri, b"", tag=tag, expires=0)
    assert (gone.status, gone["expires"]) == (200, "0")
    await lamp.shows("terminated")
    assert (await send(proxy, uri, b"", tag=gone["sip-etag"])).status == 412
    await published(proxy, uri, dialogs(call("early", "a", local="l"), call("trying", "b")))
    assert (await lamp.next()).states == ["trying", "terminated"]


async def test_dli_15_the_end_that_overtakes_the_beginning_is_remembered(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = line()
    proxy = await make_phone(running_set)
    lamp = await watching(running_set, make_phone, uri)
    over = await send(proxy, uri, dialogs(call("terminated", "a")), expires=0)
    assert (over.status, over["expires"]) == (200, "0")
    await lamp.shows("terminated")
    await published(proxy, uri, dialogs(call("early", "a")), expires=3600)
    await published(proxy, uri, dialogs(call("confirmed", "b")))
    assert (await lamp.next()).states == ["confirmed", "terminated"]


async def test_dli_15_a_publication_does_not_go_back_to_a_state_that_it_has_left(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = line()
    proxy = await make_phone(running_set)
    tag = await published(proxy, uri, dialogs(call("terminated", "a")))
    await published(proxy, uri, dialogs(call("early", "a"), call("trying", "b")), tag=tag)
    lamp = Lamp(await make_phone(running_set), uri)
    await lamp.subscribe()
    assert (await lamp.next()).states == ["trying", "terminated"]


async def test_dli_16_the_lamp_goes_out_when_its_publisher_is_gone(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """peers.md 7, row 2: what the dead publisher knew does not matter, its publication ends by itself."""
    uri = line()
    proxy = await make_phone(running_set)
    lamp = await watching(running_set, make_phone, uri)
    await published(proxy, uri, dialogs(call("confirmed", "a")), expires=2)
    await lamp.shows("confirmed")
    await lamp.shows()


async def test_dli_16_any_publisher_ends_the_call_of_one_that_is_gone(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """peers.md 7, row 2: after a failover the other proxy knows the call, and not the entity tag."""
    uri = line()
    dead, heir = await make_phone(running_set), await make_phone(running_set)
    lamp = await watching(running_set, make_phone, uri)
    await published(dead, uri, dialogs(call("confirmed", "a", local="l", remote="r")), expires=3600)
    await lamp.shows("confirmed")
    await send(heir, uri, dialogs(call("terminated", "a", local="l", remote="r")), expires=0)
    await lamp.shows("terminated")


async def test_dli_16_dli_23_parameter_max_expires_early_a_call_that_only_rings_is_held_for_three_minutes(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    early, confirmed = dialogs(call("early", "a")), dialogs(call("confirmed", "a"))
    response = await send(phone, phone.aor, early, expires=43201)
    assert response["expires"] == "180"
    response = await send(phone, phone.aor, b"", tag=response["sip-etag"], expires=3600)
    assert response["expires"] == "180", "a refresh does not change what is held"
    response = await send(phone, phone.aor, confirmed, tag=response["sip-etag"], expires=3600)
    assert response["expires"] == "3600"
    response = await send(phone, phone.aor, b"", tag=response["sip-etag"], expires=3600)
    assert response["expires"] == "3600"
    assert (await send(phone, phone.aor, dialogs(call("early", "b"), call("confirmed", "c")))).get("expires") == "600"
    assert (await send(phone, phone.aor, early, expires=20))["expires"] == "20"


async def test_pub_32_bad_documents_get_400_another_type_415_and_an_unwanted_one_406(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    for body in (b"<dialog-info", b"<presence/>", dialogs('<dialog id="1"/>'), b"<!DOCTYPE x><dialog-info/>"):
        response = await send(phone, phone.aor, body)
        assert (response.status, "Dialog info" in response.start) == (400, True)
    response = await phone.request(phone.publish(event="dialog", body=pidf()))
    assert (response.status, response["accept"]) == (415, TYPE)
    response = await phone.request(phone.subscribe(phone.dialog(phone.aor), event="dialog"))
    assert (response.status, response["accept"]) == (406, TYPE)
    assert await publications(running_set, phone.aor, "dialog") == []


async def test_win_01_who_watches_a_line_can_be_watched(running_set: RunningSet, make_phone: MakePhone) -> None:
    uri = line()
    await watching(running_set, make_phone, uri)
    phone = await make_phone(running_set)
    request = phone.subscribe(phone.dialog(uri), event="dialog.winfo", accept="application/watcherinfo+xml")
    assert (await phone.request(request)).status == 202
    notify = await phone.next_notify()
    assert notify["event"] == "dialog.winfo"
    assert b'package="dialog"' in notify.body
    assert notify.body.count(b"<watcher ") == 1


# shared lines


SLA = "dialog;sla"


class Member(Lamp):
    """A phone of a shared line: what it watches follows from its Contact and From."""

    def __init__(self, phone: Phone) -> None:
        super().__init__(phone, f"sip:{phone.user}@192.0.2.200", SLA)

    async def uses(self, body: bytes, *, tag: str | None = None) -> str:
        """Tell the others what this phone does with the line; the entity tag."""
        sender = (f"Sender: {self.phone.contact}",)
        response = await send(self.phone, self.phone.aor, body, tag=tag, event=SLA, extra=sender)
        assert response.status == 200, response.start
        return response["sip-etag"]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["1", "0"], ids=["postgres", "redis"])
async def line_set(request: pytest.FixtureRequest) -> AsyncIterator[RunningSet]:
    """A set whose proxies name the sender of a PUBLISH, with lamps for one call; dialogs in Postgres or Redis."""
    extra = {
        "VEDETTE_SENDER_HEADER": "Sender",
        "VEDETTE_FORCE_SINGLE_DIALOG": "1",
        "VEDETTE_MAX_EXPIRES_EARLY": "50",
        "VEDETTE_FALLBACK2DB": request.param,
    }
    async with started("--cores", "2", extra=extra) as running:
        yield running


async def test_dli_17_the_phones_of_a_line_see_its_calls_and_the_sender_of_a_change_is_not_told(
    line_set: RunningSet, make_phone: MakePhone
) -> None:
    user = token("line")
    members = [Member(await make_phone(line_set, user=user)) for _ in range(3)]
    for member in members:
        await member.subscribe()
        assert (await member.next()).entity == member.phone.aor
    watched = await subscriptions(line_set, members[0].phone.aor)
    assert [item["event"] for item in watched] == [SLA] * 3

    async def settled() -> bool:
        return not any(item["notify_outstanding"] for item in await subscriptions(line_set, members[0].phone.aor))

    await until(settled, "every first NOTIFY is answered")
    first, second, third = members
    tag = await first.uses(dialogs(call("trying", "a", name="1"), state="partial"))
    for member in (second, third):
        assert (await member.next()).dialogs == [("1", "trying")]
    await until(settled, "both NOTIFYs are answered")
    tag = await first.uses(dialogs(call("confirmed", "b", name="2"), state="partial"), tag=tag)
    for member in (second, third):
        assert (await member.next()).dialogs == [("2", "confirmed"), ("1", "trying")]
    await until(settled, "both NOTIFYs are answered")
    await second.uses(dialogs(call("early", "c", name="3")))
    assert (await first.next()).states == ["early", "confirmed", "trying"], (
        "its own two changes were told nobody else's"
    )
    assert first.version == 1, "of its own two changes it was not told"


async def test_dli_17_a_line_and_a_user_are_two_things(line_set: RunningSet, make_phone: MakePhone) -> None:
    user = token("line")
    member = Member(await make_phone(line_set, user=user))
    await member.subscribe()
    await member.next()
    phone = await make_phone(line_set, user=user)
    await published(phone, phone.aor, dialogs(call("confirmed", "a")))
    await member.uses(dialogs(call("early", "b")))
    other = Member(await make_phone(line_set, user=user))
    await other.subscribe()
    assert (await other.next()).dialogs == [("b", "early")]
    response = await phone.request(phone.subscribe(other.dialog, event="dialog", accept=TYPE))
    assert response.status == 403, "another event in the dialog"


async def test_parameter_force_single_dialog_1_shows_the_most_interesting_call(
    line_set: RunningSet, make_phone: MakePhone
) -> None:
    uri = line()
    proxy = await make_phone(line_set)
    lamp = await watching(line_set, make_phone, uri)
    await published(proxy, uri, dialogs(call("confirmed", "a")))
    await lamp.shows("confirmed")
    tag = await published(proxy, uri, dialogs(call("early", "b"), call("trying", "c")))
    assert (await lamp.shows("early")).dialogs == [("b", "early")]
    await published(proxy, uri, b"", tag=tag, expires=0)
    await lamp.shows("confirmed")


async def test_parameter_max_expires_early_is_told_in_the_answer(line_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(line_set)
    assert (await send(phone, phone.aor, dialogs(call("proceeding", "a"))))["expires"] == "50"
