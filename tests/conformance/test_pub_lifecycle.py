"""PUBLISH that succeeds: initial, refresh, modify, remove, expiry (RFC 3903 sections 4 and 6)."""

import asyncio
import re

import pytest

from sip_edge.domain.waiting_time import LANE_FREE
from tests.conformance.observed import fetched, notes, publications, subscriptions, tuples
from tests.conformance.rewriting import with_row
from tests.phone import MakePhone, Phone, pidf, token
from tests.running_set import RunningSet
from tests.wait import until

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_pub_01_pub_39_an_initial_publication_gets_a_tag_and_is_seen_before_and_after(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set, transport=transport)
    bob = await make_phone(running_set, transport=transport)
    _, first = await bob.subscribed(alice.aor)
    assert list(tuples(first.body).values()) == ["closed"]
    response = await alice.request(alice.publish(body=pidf(alice.aor, note="in"), expires=600))
    assert response.status == 200
    assert TOKEN.fullmatch(response["sip-etag"])
    assert response["expires"] == "600"
    assert notes((await bob.next_notify()).body) == ["in"]
    later = await make_phone(running_set, transport=transport)
    assert notes((await fetched(later, alice.aor)).body) == ["in"]


async def test_pub_07_pub_08_each_success_gives_a_new_tag_and_kills_the_old_one(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    tags = [await udp_phone.published()]
    for body, expires in [(b"", 600), (pidf(note="a"), 600), (b"", 300), (pidf(note="b"), 60), (b"", 0)]:
        response = await udp_phone.request(udp_phone.publish(if_match=tags[-1], body=body, expires=expires))
        assert response.status == 200
        assert response["expires"] == str(expires)
        tags.append(response["sip-etag"])
        for old in tags[:-1]:
            refused = await udp_phone.request(udp_phone.publish(if_match=old))
            assert refused.status == 412
    assert len(set(tags)) == len(tags)
    assert await publications(running_set, udp_phone.aor) == []


async def test_pub_08_no_tag_is_given_twice(tcp_phone: Phone) -> None:
    uris = [f"sip:{token('alice')}@example.com" for _ in range(30)] * 10
    requests = [tcp_phone.publish(uri, body=pidf(), expires=1000 + number) for number, uri in enumerate(uris)]
    responses = await asyncio.gather(*(tcp_phone.request(request) for request in requests))
    names = [response["sip-etag"] for response in responses]
    tags = set(names)
    assert len(tags) == len(requests)
    removals = [tcp_phone.publish(uri, if_match=tag, expires=0) for uri, tag in zip(uris, names, strict=True)]
    refreshed = await asyncio.gather(*(tcp_phone.request(removal) for removal in removals))
    assert {response.status for response in refreshed} == {200}
    assert len(tags | {response["sip-etag"] for response in refreshed}) == 2 * len(requests)


async def test_pub_09_pub_10_expires_is_honoured_or_shortened(udp_phone: Phone) -> None:
    granted = {}
    for asked in (10, 3600, 10**9, 2**32 - 1, None):
        response = await udp_phone.request(udp_phone.publish(body=pidf(), expires=asked))
        assert response.status == 200
        granted[asked] = int(response["expires"])
    assert granted == {10: 10, 3600: 3600, 10**9: 3600, 2**32 - 1: 3600, None: 3600}


async def test_pub_14_a_refresh_prolongs_and_tells_nobody(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    bob = await make_phone(running_set)
    tag = await udp_phone.published(body=pidf(udp_phone.aor, note="same"), expires=60)
    _, first = await bob.subscribed(udp_phone.aor)
    before = (await publications(running_set, udp_phone.aor))[0]
    refreshed = await udp_phone.request(udp_phone.publish(if_match=tag, expires=1200))
    assert refreshed.status == 200
    assert refreshed["expires"] == "1200"
    assert refreshed["sip-etag"] != tag
    after = (await publications(running_set, udp_phone.aor))[0]
    assert after["body"] == before["body"]
    assert after["expires"] > before["expires"]
    changed = udp_phone.publish(if_match=refreshed["sip-etag"], body=pidf(udp_phone.aor, note="other"))
    assert (await udp_phone.request(changed)).status == 200
    second = await bob.next_notify()
    assert notes(second.body) == ["other"]
    assert int(second["cseq"].split()[0]) == int(first["cseq"].split()[0]) + 1


async def test_pub_41_the_same_content_again_gets_a_new_tag_and_tells_nobody(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    bob = await make_phone(running_set)
    body = pidf(udp_phone.aor, note="same")
    tag = await udp_phone.published(body=body)
    _, first = await bob.subscribed(udp_phone.aor)
    again = await udp_phone.request(udp_phone.publish(if_match=tag, body=body))
    assert again.status == 200
    assert again["sip-etag"] != tag

    async def settled() -> bool:
        return not any(item["notify_outstanding"] for item in await subscriptions(running_set, udp_phone.aor))

    await until(settled, "the first NOTIFY is answered")
    spaced = body.replace(b"><", b">\r\n  <")
    again = await udp_phone.request(udp_phone.publish(if_match=again["sip-etag"], body=spaced))
    assert again.status == 200
    await udp_phone.request(udp_phone.publish(if_match=again["sip-etag"], body=pidf(udp_phone.aor, note="other")))
    second = await bob.next_notify()
    assert notes(second.body) == ["other"]
    assert int(second["cseq"].split()[0]) == int(first["cseq"].split()[0]) + 1


async def test_pub_15_cmp_02_a_modification_replaces_its_own_publication_only(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    aor = udp_phone.aor
    bob = await make_phone(running_set)
    tags = {name: await udp_phone.published(body=pidf(aor, tuple_id=name, note=name)) for name in ("a", "b", "c")}
    _, first = await bob.subscribed(aor)
    assert sorted(notes(first.body)) == ["a", "b", "c"]
    modified = await udp_phone.request(
        udp_phone.publish(if_match=tags["b"], body=pidf(aor, tuple_id="b", note="new b"))
    )
    assert modified.status == 200
    assert sorted(notes((await bob.next_notify()).body)) == ["a", "c", "new b"]
    assert (await udp_phone.request(udp_phone.publish(if_match=tags["a"], expires=0))).status == 200
    assert sorted(notes((await bob.next_notify()).body)) == ["c", "new b"]


async def test_pub_16_expires_0_removes_at_once(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    bob = await make_phone(running_set)
    tag = await udp_phone.published(body=pidf(udp_phone.aor, note="here"))
    await bob.subscribed(udp_phone.aor)
    removed = await udp_phone.request(udp_phone.publish(if_match=tag, expires=0))
    assert removed.status == 200
    assert removed["expires"] == "0"
    assert await publications(running_set, udp_phone.aor) == []
    gone = await bob.next_notify()
    assert notes(gone.body) == []
    assert list(tuples(gone.body).values()) == ["closed"]


async def test_pub_17_expires_0_with_a_body_stores_nothing_and_removes_what_it_names(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    bob = await make_phone(running_set)
    new = await udp_phone.request(udp_phone.publish(body=pidf(udp_phone.aor, note="never"), expires=0))
    assert new.status == 200
    assert new["expires"] == "0"
    assert await publications(running_set, udp_phone.aor) == []
    assert (await udp_phone.request(udp_phone.publish(if_match=new["sip-etag"]))).status == 412
    tag = await udp_phone.published(body=pidf(udp_phone.aor, note="here"))
    _, first = await bob.subscribed(udp_phone.aor)
    assert notes(first.body) == ["here"]
    body = pidf(udp_phone.aor, note="never")
    removed = await udp_phone.request(udp_phone.publish(if_match=tag, body=body, expires=0))
    assert removed.status == 200
    assert await publications(running_set, udp_phone.aor) == []
    assert notes((await bob.next_notify()).body) == []


async def test_pub_06_pub_18_pub_42_cmp_03_a_publication_ends_at_its_time_whatever_its_document_says(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    aor = udp_phone.aor
    bob = await make_phone(running_set)
    await udp_phone.published(body=pidf(aor, note="stays"))
    far = (
        b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:x@y"'
        b' xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"><tuple id="t1"><status><basic>open</basic></status>'
        b'<rpid:class until="2999-01-01T00:00:00Z">c</rpid:class><note>ends</note>'
        b"<timestamp>2999-01-01T00:00:00Z</timestamp></tuple></presence>"
    )
    response = await udp_phone.request(udp_phone.publish(body=far, expires=2))
    assert response["expires"] == "2"
    _, first = await bob.subscribed(aor)
    assert sorted(notes(first.body)) == ["ends", "stays"]
    assert notes((await bob.next_notify()).body) == ["stays"]
    assert len(await publications(running_set, aor)) == 1
    late = udp_phone.publish(if_match=response["sip-etag"], body=pidf(aor, note="late"))
    assert (await udp_phone.request(late)).status == 412
    assert notes((await fetched(bob, aor)).body) == ["stays"]


async def test_pub_19_of_many_that_name_one_tag_the_first_wins_alone(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    tag = await udp_phone.published()
    bodies = [pidf(udp_phone.aor, note=str(number)) for number in range(LANE_FREE)]  # more may get 503
    requests = [udp_phone.publish(if_match=tag, body=body) for body in bodies]
    responses = await asyncio.gather(*(udp_phone.request(request) for request in requests))
    assert [response.status for response in responses] == [200] + [412] * (LANE_FREE - 1)
    assert notes((await fetched(udp_phone, udp_phone.aor)).body) == ["0"]


async def test_pub_19_changes_come_out_in_the_order_they_came_in(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    tag = await alice.published(body=pidf(alice.aor, note="0"))
    _, first = await bob.subscribed(alice.aor)
    seen = [int(notes(first.body)[0])]
    for number in range(1, 40):
        changed = await alice.request(alice.publish(if_match=tag, body=pidf(alice.aor, note=str(number))))
        assert changed.status == 200
        tag = changed["sip-etag"]
    while seen[-1] != 39:
        seen.append(int(notes((await bob.next_notify()).body)[0]))
    assert seen == sorted(set(seen))


async def test_pub_21_pub_22_pub_43_not_01_a_publication_makes_no_dialog(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    extra = ("Record-Route: <sip:127.0.0.1:9;lr>", f"Contact: {udp_phone.contact}", "Subscription-State: active")
    first = await udp_phone.request(udp_phone.publish(body=pidf(), extra=extra))
    refreshed = await udp_phone.request(udp_phone.publish(if_match=first["sip-etag"], extra=extra))
    for response in (first, refreshed):
        assert response.status == 200
        for header in ("record-route", "contact", "accept", "event", "subscription-state"):
            assert header not in response
    unknown = await udp_phone.request(udp_phone.publish(event="unheard-of", body=pidf()))
    assert unknown.status == 489
    assert "event" not in unknown


async def test_pub_37_msg_12_tags_count_only_where_they_belong(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    tag = await udp_phone.published(body=pidf(udp_phone.aor, note="here"))
    named = await udp_phone.request(udp_phone.publish(body=pidf(udp_phone.aor), extra=(f"SIP-ETag: {tag}",)))
    assert named.status == 200
    assert len(await publications(running_set, udp_phone.aor)) == 2
    bob = await make_phone(running_set)
    dialog = bob.dialog(udp_phone.aor)
    extra = ("SIP-If-Match: a, b", f"Suppress-If-Match: {tag}", "Subscription-State: terminated")
    assert (await bob.request(bob.subscribe(dialog, extra=extra))).status == 200
    notify = await bob.next_notify()
    assert "here" in notes(notify.body)
    assert "sip-etag" not in notify


async def test_pub_38_parameters_of_the_event_do_not_take_part_in_matching(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    event = 'presence;foo=bar;profile="a;b"'
    first = await udp_phone.request(udp_phone.publish(body=pidf(), event=event))
    assert first.status == 200
    refreshed = await udp_phone.request(udp_phone.publish(if_match=first["sip-etag"], event="presence"))
    assert refreshed.status == 200


async def test_pub_30_a_stray_route_is_no_obstacle(running_set: RunningSet, udp_phone: Phone) -> None:
    for route in (f"<sip:{running_set.sip_address};lr>", "<sip:elsewhere.example.net;lr>", "<sip:127.0.0.1>"):
        response = await udp_phone.request(udp_phone.publish(body=pidf(), extra=(f"Route: {route}",)))
        assert response.status == 200


async def test_prs_19_a_publisher_sees_what_others_see(udp_phone: Phone) -> None:
    _, first = await udp_phone.subscribed(udp_phone.aor)
    assert notes(first.body) == []
    await udp_phone.published(body=pidf(udp_phone.aor, note="me"))
    assert notes((await udp_phone.next_notify()).body) == ["me"]


async def test_msg_44_prs_15_every_spelling_of_a_uri_is_one_presentity(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    user = token("al")
    spellings = [
        f"sip:{user}@Example.COM",
        f"sip:{user}@example.com:5060;transport=udp",
        f"sips:{user}@example.com",
        f"pres:{user}@example.com",
        f"sip:%{ord(user[0]):x}{user[1:]}@example.com",
    ]
    for spelling in spellings:
        assert (await phone.request(phone.publish(spelling, body=pidf(note=spelling)))).status == 200

    async def all_there() -> bool:
        return sorted(notes((await fetched(phone, spellings[-1])).body)) == sorted(spellings)

    await until(all_there, "all publications are of one presentity")
    request = with_row(phone.publish(f"sip:{user.upper()}@example.com", body=pidf(note="other")), "X-Case: user")
    assert (await phone.request(request)).status == 200
    assert len(notes((await fetched(phone, spellings[0])).body)) == len(spellings)
