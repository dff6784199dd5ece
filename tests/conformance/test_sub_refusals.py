"""SUBSCRIBE that is refused, and changes nothing (RFC 6665 section 4.2.1, RFC 3261 section 12.2.2)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.conformance.observed import notes, subscription, subscriptions
from tests.conformance.rewriting import with_row, with_value, without
from tests.phone import Dialog, MakePhone, Phone, learn, pidf, token
from tests.running_set import RunningSet


def presentity() -> str:
    return f"sip:{token('alice')}@example.com"


async def remembered(running: RunningSet, dialog: Dialog) -> dict[str, object]:
    """What the server remembers of a subscription that is alive, but for a NOTIFY that may still be on its way.

    Nor of the answer to one, which may come at any time.
    """
    found = await subscription(running, dialog)
    assert found is not None
    on_its_way = ("notify_outstanding", "notify_answer", "notify_answered")
    return {name: value for name, value in found.items() if name not in on_its_way}


@asynccontextmanager
async def unharmed(running: RunningSet, phone: Phone, *, expires: int = 600) -> AsyncIterator[Dialog]:
    """A subscription that is the same after whatever happens to it: nothing sent, same expiry, alive."""
    watched = presentity()
    dialog, first = await phone.subscribed(watched, expires=expires)
    before = await remembered(running, dialog)
    yield dialog
    assert await remembered(running, dialog) == before
    await phone.published(watched, body=pidf(watched, note="alive"))
    notify = await phone.next_notify()
    assert notes(notify.body) == ["alive"]
    assert notify["call-id"] == dialog.call_id
    assert int(notify["cseq"].split()[0]) == int(first["cseq"].split()[0]) + 1


async def test_sub_29_uas_05_a_foreign_domain_or_no_user_gets_404(
    strict_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(strict_set)
    for uri in ("sip:alice@example.org", "sip:example.com"):
        assert (await phone.request(phone.subscribe(phone.dialog(uri)))).status == 404
        assert await subscriptions(strict_set, uri) == []
    assert (await phone.request(phone.subscribe(phone.dialog(presentity())))).status == 200


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sub_03_sub_04_win_01_msg_45_no_event_or_an_unknown_one_gets_489_with_allow_events(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, transport=transport)
    watched = presentity()
    for event in (None, "Presence", "foo.winfo", "unheard-of"):
        response = await phone.request(phone.subscribe(phone.dialog(watched), event=event))
        assert (event, response.status) == (event, 489)
        assert {"message-summary", "presence"} <= set(response["allow-events"].split(", "))
    assert await subscriptions(running_set, watched) == []


async def test_sub_05_two_events_get_400(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    for event, extra in (("presence, dialog", ()), ("presence;id=1;id=2", ()), ("presence", ("Event: presence",))):
        response = await udp_phone.request(udp_phone.subscribe(udp_phone.dialog(watched), event=event, extra=extra))
        assert (event, response.status) == (event, 400)
        assert "Event" in response.start
    assert await subscriptions(running_set, watched) == []


async def test_sub_07_sub_08_too_short_gets_423_with_min_expires_and_0_never(
    strict_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(strict_set)
    watched = presentity()
    for expires in (1, 59):
        response = await phone.request(phone.subscribe(phone.dialog(watched), expires=expires))
        assert response.status == 423
        assert response["min-expires"] == "60"
    assert await subscriptions(strict_set, watched) == []
    for expires in (0, 60, 3600):
        _, notify = await phone.subscribed(watched, expires=expires)
        assert notify.state == ("active" if expires else "terminated")
    async with unharmed(strict_set, phone) as dialog:
        response = await phone.request(phone.subscribe(dialog, expires=59))
        assert (response.status, response["min-expires"]) == (423, "60")
    dialog.cseq += 1
    assert (await phone.request(phone.subscribe(dialog, expires=0))).status == 200


async def test_sub_20_sub_21_uas_15_prs_03_accept_without_anything_we_can_send_gets_406(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    watched = presentity()
    for accept in (
        "",
        "text/plain",
        "application/dialog-info+xml",
        "application/cpim-pidf+xml",
        "application/pidf+xml;q=0",
        "*/*;q=0, application/pidf+xml;q=0.0",
        "text/*",
    ):
        response = await udp_phone.request(udp_phone.subscribe(udp_phone.dialog(watched), accept=accept))
        assert (accept, response.status) == (accept, 406)
    assert await subscriptions(running_set, watched) == []


async def test_sub_19_a_refresh_with_an_accept_that_does_not_fit_changes_nothing(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    async with unharmed(running_set, udp_phone) as dialog:
        assert (await udp_phone.request(udp_phone.subscribe(dialog, accept="text/plain"))).status == 406


async def test_sub_28_a_body_gets_415(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    extra = ("Content-Type: application/simple-filter+xml",)
    request = udp_phone.subscribe(udp_phone.dialog(watched), extra=extra, body=b"<filter-set/>")
    assert (await udp_phone.request(request)).status == 415
    assert await subscriptions(running_set, watched) == []


async def test_dlg_17_subscribe_needs_exactly_one_contact(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    contact = udp_phone.contact
    for request in (
        without(udp_phone.subscribe(udp_phone.dialog(watched)), "Contact"),
        udp_phone.subscribe(udp_phone.dialog(watched), contact="*"),
        udp_phone.subscribe(udp_phone.dialog(watched), contact=f"{contact}, {contact}"),
        with_row(udp_phone.subscribe(udp_phone.dialog(watched)), f"Contact: {contact}"),
        udp_phone.subscribe(udp_phone.dialog(watched), contact="<http://example.com/>"),
        udp_phone.subscribe(udp_phone.dialog(watched), contact="<sip:>"),
    ):
        response = await udp_phone.request(request)
        assert response.status == 400
    assert await subscriptions(running_set, watched) == []


async def test_msg_52_expires_that_is_no_number_gets_400(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    for expires in ("abc", "-1", "", str(2**32), "600;x=y"):
        response = await udp_phone.request(udp_phone.subscribe(udp_phone.dialog(watched), expires=expires))
        assert (expires, response.status) == (expires, 400)
    assert await subscriptions(running_set, watched) == []


async def test_msg_13_a_repeated_parameter_gets_400(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    dialog = udp_phone.dialog(watched)
    for name, value in (
        ("From", f"<{udp_phone.aor}>;tag=a;tag=b"),
        ("To", f"<{watched}>;tag=a;tag=b"),
        ("Contact", f"{udp_phone.contact};a=1;a=2"),
    ):
        response = await udp_phone.request(with_value(udp_phone.subscribe(dialog), name, value))
        assert (name, response.status) == (name, 400)
    assert await subscriptions(running_set, watched) == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_dlg_15_dlg_26_sub_15_a_dialog_that_is_not_there_gets_481(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, transport=transport)
    async with unharmed(running_set, phone) as dialog:
        strangers = [
            Dialog(dialog.presentity, dialog.call_id, dialog.from_tag, dialog.cseq, token(), dialog.target),
            Dialog(dialog.presentity, token(), dialog.from_tag, dialog.cseq, dialog.to_tag, dialog.target),
            Dialog(dialog.presentity, dialog.call_id, token(), dialog.cseq, dialog.to_tag, dialog.target),
            Dialog(dialog.presentity, dialog.call_id, dialog.from_tag, 99, dialog.to_tag[:-1], dialog.target),
        ]
        for stranger in strangers:
            for expires in (600, 0):
                stranger.cseq += 1
                assert (await phone.request(phone.subscribe(stranger, expires=expires))).status == 481


async def test_dlg_15_481_comes_before_other_faults_in_a_dialog_that_is_not_there(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    dialog = udp_phone.dialog(presentity())
    dialog.to_tag = token()
    request = udp_phone.subscribe(dialog, accept="text/plain", expires="abc", contact="*")
    assert (await udp_phone.request(request)).status == 481


async def test_dlg_10_dlg_11_an_old_or_equal_cseq_gets_500_and_a_jump_is_taken(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    watched = presentity()
    dialog = udp_phone.dialog(watched)
    dialog.cseq = 100
    response = await udp_phone.request(udp_phone.subscribe(dialog))
    learn(dialog, response)
    await udp_phone.next_notify()
    before = await remembered(running_set, dialog)
    for cseq in (99, 100, 1):
        dialog.cseq = cseq
        for expires in (60, 0):
            assert (await udp_phone.request(udp_phone.subscribe(dialog, expires=expires))).status == 500
    assert await remembered(running_set, dialog) == before
    assert udp_phone.nothing_waits()


async def test_dlg_12_a_jump_of_the_cseq_is_taken(running_set: RunningSet, udp_phone: Phone) -> None:
    dialog, _ = await udp_phone.subscribed(presentity())
    for cseq in (1000, 1001, 2**31 - 1):
        dialog.cseq = cseq
        assert (await udp_phone.request(udp_phone.subscribe(dialog))).status == 200
        await udp_phone.next_notify()


async def test_sub_17_dlg_20_another_id_or_package_in_the_dialog_gets_403(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    async with unharmed(running_set, udp_phone) as dialog:
        for event in ("presence;id=7", "presence;id=A"):
            dialog.cseq += 1
            response = await udp_phone.request(udp_phone.subscribe(dialog, event=event))
            assert response.status == 403
            assert response.start != "SIP/2.0 403 Forbidden"
        for accept in (None, "application/watcherinfo+xml", "application/pidf+xml"):
            dialog.cseq += 1
            response = await udp_phone.request(udp_phone.subscribe(dialog, event="presence.winfo", accept=accept))
            assert (accept, response.status) == (accept, 403)
        dialog.cseq += 1
        assert (await udp_phone.request(udp_phone.subscribe(dialog, event="unheard-of"))).status == 489


async def test_uas_07_an_unknown_extension_gets_420(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    extra = ("Require: recipient-list-subscribe", "Proxy-Require: foo")
    response = await udp_phone.request(udp_phone.subscribe(udp_phone.dialog(watched), extra=extra))
    assert response.status == 420
    assert response["unsupported"] == "recipient-list-subscribe"
    assert await subscriptions(running_set, watched) == []


async def test_msg_05_methods_are_case_sensitive(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    request = udp_phone.subscribe(udp_phone.dialog(watched)).replace(b"SUBSCRIBE", b"subscribe")
    assert (await udp_phone.request(request)).status == 501
    assert await subscriptions(running_set, watched) == []
