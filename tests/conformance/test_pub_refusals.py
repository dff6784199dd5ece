"""PUBLISH that is refused, and changes nothing (RFC 3903 section 6, RFC 3261 section 8.2)."""

import asyncio

import pytest

from tests.conformance.observed import fetched, notes, publications, tuples
from tests.conformance.rewriting import with_row, with_value
from tests.phone import MakePhone, Phone, pidf, token
from tests.running_set import RunningSet
from tests.vectors import Vector, needs_vectors, vectors
from tests.wait import until


async def unchanged(running: RunningSet, phone: Phone, tag: str) -> None:
    """The one publication is there as it was, and its tag still works."""
    there = await publications(running, phone.aor)
    assert [item["etag"] for item in there] == [tag]
    assert notes(there[0]["body"].encode()) == ["as it was"]
    assert (await phone.request(phone.publish(if_match=tag, expires=0))).status == 200


async def published(phone: Phone) -> str:
    """A publication that is to stay as it is."""
    return await phone.published(body=pidf(phone.aor, note="as it was"))


async def test_pub_02_uas_05_a_foreign_domain_or_no_user_gets_404(
    strict_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(strict_set)
    for uri in ("sip:alice@example.org", "sip:example.com", "sip:alice@sub.example.com"):
        assert (await phone.request(phone.publish(uri, body=pidf()))).status == 404
    for uri in (phone.aor, phone.aor.replace("example.com", "EXAMPLE.com")):
        assert (await phone.request(phone.publish(uri, body=pidf()))).status == 200


async def test_pub_03_msg_45_no_event_or_an_unknown_one_gets_489_with_allow_events(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    tag = await published(udp_phone)
    for event in (None, "Presence", "presence.winfo", "unheard-of"):
        response = await udp_phone.request(udp_phone.publish(event=event, body=pidf(), if_match=tag))
        assert response.status == 489
        assert {"message-summary", "presence"} <= set(response["allow-events"].split(", "))
    await unchanged(running_set, udp_phone, tag)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_pub_04_if_match_is_one_token(running_set: RunningSet, make_phone: MakePhone, transport: str) -> None:
    phone = await make_phone(running_set, transport=transport)
    tag = await published(phone)
    for value in (f"{tag}, {tag}", "*", f'"{tag}"', "", f"{tag} {tag}", f"<{tag}>"):
        response = await phone.request(phone.publish(if_match=value, body=pidf()))
        assert (value, response.status) == (value, 400)
        assert "SIP-If-Match" in response.start
    twice = await phone.request(phone.publish(if_match=tag, body=pidf(), extra=(f"SIP-If-Match: {tag}",)))
    assert twice.status == 400
    for value in (token(), f"{tag}0", tag.upper() + "x", "1.1"):
        response = await phone.request(phone.publish(if_match=value, body=pidf()))
        assert (value, response.status) == (value, 412)
    await unchanged(running_set, phone, tag)


async def test_pub_05_the_tag_of_another_resource_gets_412(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    tag = await published(udp_phone)
    other = await make_phone(running_set)
    await other.published()
    for expires in (600, 0):
        assert (await other.request(other.publish(if_match=tag, body=pidf(), expires=expires))).status == 412
    await unchanged(running_set, udp_phone, tag)


async def test_pub_06_a_replaced_or_removed_tag_gets_412(running_set: RunningSet, udp_phone: Phone) -> None:
    first = await udp_phone.published()
    replaced = await udp_phone.request(udp_phone.publish(if_match=first, body=pidf(udp_phone.aor, note="as it was")))
    for expires in (600, 0):
        late = udp_phone.publish(if_match=first, body=pidf(note="late"), expires=expires)
        assert (await udp_phone.request(late)).status == 412
    await unchanged(running_set, udp_phone, replaced["sip-etag"])
    assert (await udp_phone.request(udp_phone.publish(if_match=replaced["sip-etag"]))).status == 412
    assert await publications(running_set, udp_phone.aor) == []


async def test_pub_11_too_short_gets_423_with_min_expires_and_0_never(
    strict_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(strict_set)
    for expires in (1, 59):
        response = await phone.request(phone.publish(body=pidf(), expires=expires))
        assert response.status == 423
        assert response["min-expires"] == "60"
    assert await publications(strict_set, phone.aor) == []
    tag = await phone.published(body=pidf(phone.aor, note="as it was"), expires=60)
    assert (await phone.request(phone.publish(if_match=tag, expires=59))).status == 423
    assert (await phone.request(phone.publish(body=pidf(), expires=0))).status == 200
    await unchanged(strict_set, phone, tag)


async def test_msg_52_msg_26_expires_that_is_no_number_gets_400(running_set: RunningSet, udp_phone: Phone) -> None:
    tag = await published(udp_phone)
    for expires in ("abc", "-1", "", "1.5", str(2**32), "9" * 30, "60;x=y"):
        for if_match in (None, tag):
            response = await udp_phone.request(udp_phone.publish(body=pidf(), expires=expires, if_match=if_match))
            assert (expires, response.status) == (expires, 400)
            assert "Expires" in response.start
    await unchanged(running_set, udp_phone, tag)


async def test_pub_12_pub_40_uas_11_a_type_that_is_not_understood_gets_415_with_accept(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    tag = await published(udp_phone)
    for content_type in (
        "application/dialog-info+xml",
        "text/plain",
        "application/pidf",
        "application/pidf-diff+xml",
        "multipart/mixed;boundary=x",
        'multipart/related;type="application/pidf+xml";boundary=x',
    ):
        for if_match in (None, tag):
            request = udp_phone.publish(body=pidf(), content_type=content_type, if_match=if_match)
            response = await udp_phone.request(request)
            assert (content_type, response.status) == (content_type, 415)
            assert response["accept"] == "application/pidf+xml"
    await unchanged(running_set, udp_phone, tag)


async def test_msg_48_uas_11_an_encoding_that_is_not_understood_gets_415_with_accept_encoding(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    tag = await published(udp_phone)
    for encoding in ("gzip", "x-foo"):
        for name in ("Content-Encoding", "e"):
            request = udp_phone.publish(body=pidf(), if_match=tag, extra=(f"{name}: {encoding}",))
            response = await udp_phone.request(request)
            assert response.status == 415
            assert "identity" in response["accept-encoding"]
    await unchanged(running_set, udp_phone, tag)
    plain = udp_phone.publish(body=pidf(), extra=("Content-Encoding: identity",))
    assert (await udp_phone.request(plain)).status == 200


async def test_pub_13_no_body_and_no_tag_gets_400(running_set: RunningSet, udp_phone: Phone) -> None:
    for expires in (600, 0, None):
        assert (await udp_phone.request(udp_phone.publish(expires=expires))).status == 400
    assert await publications(running_set, udp_phone.aor) == []


async def test_pub_30_a_tag_of_a_foreign_dialog_gets_481(running_set: RunningSet, udp_phone: Phone) -> None:
    request = with_value(udp_phone.publish(body=pidf()), "To", f"<{udp_phone.aor}>;tag={token()}")
    assert (await udp_phone.request(request)).status == 481
    assert await publications(running_set, udp_phone.aor) == []


async def test_pub_31_content_type_in_every_legal_form(running_set: RunningSet, udp_phone: Phone) -> None:
    for content_type in (
        "application/pidf+xml",
        'Application/PIDF+XML;charset="UTF-8"',
        "application/pidf+xml ; charset=utf-8 ; x=y",
        "application / pidf+xml",
    ):
        response = await udp_phone.request(udp_phone.publish(body=pidf(), content_type=content_type))
        assert (content_type, response.status) == (content_type, 200)
    bob_sees = await fetched(udp_phone, udp_phone.aor)
    assert bob_sees["content-type"] == "application/pidf+xml"
    missing = await udp_phone.request(udp_phone.publish(body=pidf(), content_type=None))
    assert missing.status == 400
    assert "Content-Type" in missing.start


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_pub_32_uas_25_uas_26_a_body_that_is_not_well_formed_gets_400_and_changes_nothing(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set, transport=transport)
    bob = await make_phone(running_set)
    tag = await published(alice)
    _, first = await bob.subscribed(alice.aor)
    for body in (
        b"<presence",
        pidf().replace(b"</tuple>", b""),
        pidf() + b"<more/>",
        b"\xff\xfe\x00",
        b"plain text",
        b"<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info'/>",
        b"<presence xmlns='urn:somebody:else'/>",
    ):
        for if_match in (None, tag):
            response = await alice.request(alice.publish(body=body, if_match=if_match))
            assert (body, response.status) == (body, 400)
            assert "PIDF" in response.start
    await unchanged(running_set, alice, tag)
    gone = await bob.next_notify()
    assert notes(gone.body) == []
    assert int(gone["cseq"].split()[0]) == int(first["cseq"].split()[0]) + 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_pub_34_sec_01_entities_and_document_types_get_400(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, transport=transport)
    tag = await published(phone)
    bomb = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for declarations, text in (
        ('<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;"),
        ('<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;', ""),
        (bomb, "&i;"),
        ("", ""),
    ):
        document = f"<!DOCTYPE presence [{declarations}]>" + pidf(note="N").decode().partition("?>")[2]
        for if_match in (None, tag):
            body = document.replace("N</note>", f"{text}</note>").encode()
            response = await phone.request(phone.publish(body=body, if_match=if_match))
            assert response.status == 400
            assert "document type" in response.start
    await unchanged(running_set, phone, tag)


async def test_uas_07_a_required_extension_that_is_unknown_gets_420_and_names_it(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    extra = ("Require: eventlist, foo", "Require: bar")
    response = await udp_phone.request(udp_phone.publish(body=pidf(), extra=extra))
    assert response.status == 420
    assert response["unsupported"].split(", ") == ["eventlist", "foo", "bar"]
    assert await publications(running_set, udp_phone.aor) == []


async def test_pub_03_pub_04_pub_11_pub_12_the_first_fault_in_the_order_of_section_6_decides(
    strict_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(strict_set)
    tag = await phone.published(body=pidf(phone.aor, note="as it was"))
    broken, odd = b"<presence", "text/plain"
    elsewhere = "sip:alice@example.org"
    for request, status in (
        (phone.publish(elsewhere, event="foo", if_match="*", expires=1, content_type=odd, body=broken), 404),
        (phone.publish(event="foo", if_match="*", expires=1, content_type=odd, body=broken), 489),
        (phone.publish(if_match="*", expires=1, content_type=odd, body=broken), 400),
        (phone.publish(if_match=token(), expires=1, content_type=odd, body=broken), 412),
        (phone.publish(if_match=tag, expires=1, content_type=odd, body=broken), 423),
        (phone.publish(if_match=tag, content_type=odd, body=broken), 415),
        (phone.publish(if_match=tag, body=broken), 400),
    ):
        response = await phone.request(request)
        assert (status, response.start.split(" ")[1]) == (status, str(status))
    await unchanged(strict_set, phone, tag)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_uas_13_sec_05_a_body_over_the_limit_gets_413_and_one_below_is_taken(
    strict_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(strict_set, transport=transport)
    padding = 4096 - len(pidf(note="x")) + 1
    assert len(pidf(note="x" * padding)) == 4096
    assert (await phone.request(phone.publish(body=pidf(note="x" * padding)))).status == 200
    response = await phone.request(phone.publish(body=pidf(note="x" * (padding + 1))))
    assert response.status == 413
    assert len(await publications(strict_set, phone.aor)) == 1
    if transport == "tcp":
        await asyncio.wait_for(phone.closed.wait(), 15)


async def test_trn_15_a_datagram_of_60_kilobytes_is_taken(running_set: RunningSet, udp_phone: Phone) -> None:
    note = "x" * 60_000
    assert (await udp_phone.request(udp_phone.publish(body=pidf(udp_phone.aor, note=note)))).status == 200
    assert (await publications(running_set, udp_phone.aor))[0]["body"].count("x") > 60_000 - 1


async def test_uas_14_a_request_uri_over_the_limit_gets_414(running_set: RunningSet, udp_phone: Phone) -> None:
    response = await udp_phone.request(udp_phone.publish(f"sip:{'a' * 5000}@example.com", body=pidf()))
    assert response.status == 414


async def test_uas_04_msg_38_a_scheme_that_is_not_understood_gets_416(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    for uri in ("tel:+15551234", "http://example.com/alice", "nobodyKnowsThisScheme:totallyopaquecontent"):
        request = udp_phone.publish(body=pidf()).replace(udp_phone.aor.encode(), uri.encode(), 1)
        assert (await udp_phone.request(request)).status == 416


async def test_uas_06_the_resource_is_the_request_uri_and_not_to(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    other = await make_phone(running_set)
    request = with_value(udp_phone.publish(body=pidf(udp_phone.aor)), "To", f"<{other.aor}>")
    assert (await udp_phone.request(request)).status == 200
    assert len(await publications(running_set, udp_phone.aor)) == 1
    assert await publications(running_set, other.aor) == []


async def test_msg_39_a_header_that_may_come_once_and_comes_twice_gets_400(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    for name in ("Call-ID", "CSeq", "To", "From", "Max-Forwards", "Expires", "Event", "Content-Type"):
        request = udp_phone.publish(body=pidf())
        value = next(line for line in request.decode().split("\r\n") if line.startswith(f"{name}:"))
        response = await udp_phone.request(with_row(request, value))
        assert (name, response.status) == (name, 400)
        assert name.lower() in response.start.lower()
    assert await publications(running_set, udp_phone.aor) == []


@needs_vectors
async def test_pub_32_pub_33_pub_35_documents_of_real_phones_are_taken_and_broken_ones_are_not(
    running_set: RunningSet, tcp_phone: Phone
) -> None:
    # Templates have placeholders where their project puts values, so nobody sends them as they are.
    documents = [vector for vector in vectors("body/pidf") if vector.expected != ["template"]]
    assert len(documents) > 90

    async def send(number: int, vector: Vector) -> None:
        aor = f"sip:{tcp_phone.user}-{number}@example.com"
        response = await tcp_phone.request(tcp_phone.publish(aor, body=vector.data))
        wanted = 400 if vector.expected == ["reject:400"] else 200
        assert (str(vector), response.status) == (str(vector), wanted)
        if wanted == 200:
            document = await running_set.get(f"/api/v1/presentities/{aor}")
            assert f'entity="{aor}"' in document["document"]
            tuples(document["document"].encode())

    await asyncio.gather(*(send(number, vector) for number, vector in enumerate(documents)))


async def test_pub_35_entity_is_written_anew(running_set: RunningSet, udp_phone: Phone) -> None:
    for entity in ("sip:somebody@else.example", "alice%40example.test", "", "pres:a@b;x=y"):
        tag = await udp_phone.published(body=pidf(entity, note="seen"))
        notify = await fetched(udp_phone, udp_phone.aor)
        assert f'entity="{udp_phone.aor}"'.encode() in notify.body
        assert notes(notify.body) == ["seen"]
        await udp_phone.request(udp_phone.publish(if_match=tag, expires=0))

    async def none_left() -> bool:
        return await publications(running_set, udp_phone.aor) == []

    await until(none_left, "nothing is published any more")
