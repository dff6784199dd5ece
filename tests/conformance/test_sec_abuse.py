"""What strangers cannot make the server do to others (rows SEC-02 to SEC-04)."""

import asyncio

from tests.conformance.observed import saying, subscriptions
from tests.phone import MakePhone, Phone, token
from tests.running_set import RunningSet


def strange_requests(phone: Phone, victim: Phone) -> list[tuple[str, bytes]]:
    """One request of each kind that a stranger may send, with its branch; all name the victim as Contact."""

    def subscribe() -> tuple[str, bytes]:
        branch = token("z9hG4bK")
        return branch, phone.subscribe(phone.dialog(phone.aor), branch=branch, contact=victim.contact)

    branch = token("z9hG4bK")
    requests = [subscribe(), (branch, phone.publish(branch=branch))]
    for method in ("INVITE", "OPTIONS", "MESSAGE", "REGISTER", "BYE", "NOTIFY", "REFER", "UNHEARD-OF"):
        branch, request = subscribe()
        requests.append((branch, request.replace(b"SUBSCRIBE", method.encode())))
    for old, new in ((b"Max-Forwards: 70", b"Max-Forwards: x"), (b"SIP/2.0\r\n", b"SIP/3.0\r\n")):
        branch, request = subscribe()
        requests.append((branch, request.replace(old, new)))
    return requests


async def test_sec_02_sec_03_a_stranger_gets_one_small_answer_and_his_victim_no_notify(
    digest_set: RunningSet, make_phone: MakePhone
) -> None:
    phone, victim = await make_phone(digest_set), await make_phone(digest_set)
    requests = strange_requests(phone, victim)
    for branch, request in requests:
        phone.send(request)
        response = await phone.next_response(branch)
        assert response.status != 200 or response["cseq"].endswith("OPTIONS")
        assert len(response.raw) <= 3 * len(request), (len(request), response.raw)
    assert len(phone.received) == len(requests)
    assert phone.nothing_waits()
    assert victim.received == []
    assert await subscriptions(digest_set, phone.aor) == []


async def test_sec_04_what_a_document_or_a_header_points_to_is_never_fetched(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    fetched: list[object] = []

    def taken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fetched.append(writer.get_extra_info("peername"))
        writer.close()

    alice, bob = await make_phone(running_set), await make_phone(running_set)
    async with await asyncio.start_server(taken, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        note = token()
        document = (
            f'<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="{url}/style.xsl"?>'
            f'<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:c="urn:ietf:params:xml:ns:pidf:cipid"'
            f' xmlns:xi="http://www.w3.org/2001/XInclude" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
            f' xsi:schemaLocation="urn:ietf:params:xml:ns:pidf {url}/pidf.xsd" entity="{alice.aor}">'
            f'<tuple id="t1"><status><basic>open</basic></status><c:icon>{url}/icon.png</c:icon>'
            f'<c:card>{url}/card.vcf</c:card><xi:include href="{url}/more.xml"/><contact>{url}/</contact>'
            f"<note>{note}</note></tuple></presence>"
        ).encode()
        pointers = tuple(f"{name}: <{url}/>" for name in ("Call-Info", "Alert-Info", "Error-Info", "Identity-Info"))
        await bob.subscribed(alice.aor)
        outside = f'message/external-body; access-type="URL"; URL="{url}/pidf.xml"'
        assert (await alice.request(alice.publish(body=document, content_type=outside))).status == 415
        assert (await alice.request(alice.publish(body=document, extra=pointers))).status == 200
        shown = await bob.notify_where(saying(note))
        assert f"{url}/icon.png".encode() in shown.body
        assert (await alice.request(alice.publish(expires=0))).status == 400
        assert fetched == []
