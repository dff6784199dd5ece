"""The registrar for small sites on the wire (RFC 3261 section 10; row OUT-06)."""

import re

import pytest

from tests.conformance.digest_client import Digest, add_user, challenged, user
from tests.conformance.observed import subscriptions
from tests.phone import MakePhone, Message, Phone, host_port, parameter, pidf, token
from tests.running_set import RunningSet
from tests.wait import until


def register(
    phone: Phone,
    *contacts: str,
    aor: str | None = None,
    expires: int | None = None,
    cseq: int = 1,
    call_id: str | None = None,
    extra: tuple[str, ...] = (),
    uri: str = "sip:example.com",
) -> bytes:
    """A REGISTER; without a Contact it asks what there is."""
    headers = [
        f"Via: {phone.via()}",
        "Max-Forwards: 70",
        f"From: <{phone.aor}>;tag={token()}",
        f"To: <{aor or phone.aor}>",
        f"Call-ID: {call_id or token()}",
        f"CSeq: {cseq} REGISTER",
        *(f"Contact: {contact}" for contact in contacts),
        *([f"Expires: {expires}"] if expires is not None else []),
        *extra,
    ]
    return phone.build("REGISTER", uri, headers)


def bindings(response: Message) -> dict[str, int]:
    """The URIs and seconds of an answer."""
    assert response.status == 200, response.start
    found = [re.fullmatch(r"<([^>]*)>;expires=([0-9]+)(;.*)?", value) for value in response.all("contact")]
    return {one[1]: int(one[2]) for one in found if one}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_phone_registers_asks_keeps_it_up_and_leaves(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, transport=transport)
    mine = phone.contact.strip("<>")
    call_id = token()
    response = await phone.request(register(phone, f"{phone.contact};expires=600", call_id=call_id))
    assert bindings(response) == {mine: 600}
    assert response.to_tag
    assert 590 <= bindings(await phone.request(register(phone)))[mine] <= 600
    answer = await phone.request(
        register(phone, phone.contact, "<sip:desk@192.0.2.8>", expires=60, call_id=call_id, cseq=2)
    )
    assert bindings(answer) == {mine: 60, "sip:desk@192.0.2.8": 60}
    late = await phone.request(register(phone, phone.contact, expires=600, call_id=call_id, cseq=1))
    assert late.status == 500
    assert bindings(await phone.request(register(phone, "*", expires=0, call_id=call_id, cseq=3))) == {}
    assert bindings(await phone.request(register(phone))) == {}


async def test_what_no_registrar_takes(running_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(running_set)
    brief = await phone.request(register(phone, phone.contact, expires=30))
    assert (brief.status, brief["min-expires"]) == (423, "60")
    assert (await phone.request(register(phone, "*", expires=60))).status == 400
    assert (await phone.request(register(phone, phone.contact, extra=("Require: outbound",)))).status == 420
    assert (await phone.request(register(phone, aor="tel:+1"))).status == 416


async def test_out_06_path_outbound_and_gruu_are_ignored_and_harmless(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    instance = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"'
    response = await phone.request(
        register(
            phone,
            f"{phone.contact};{instance};reg-id=1",
            expires=600,
            extra=("Supported: path, outbound, gruu", "Path: <sip:proxy.example.com;lr;ob>"),
        )
    )
    assert bindings(response) == {phone.contact.strip("<>"): 600}
    assert instance in response["contact"]
    assert "gruu" not in response["contact"]
    assert "require" not in response
    assert "path" not in response
    answer = await phone.request(register(phone, f"{phone.contact};{instance};reg-id=0"))
    assert answer.status == 400


async def test_a_copy_that_comes_later_gets_the_same_answer(running_set: RunningSet, make_phone: MakePhone) -> None:
    phone, same = await make_phone(running_set), await make_phone(running_set)
    request = register(phone, phone.contact, expires=600)
    first = await phone.request(request)
    # By another socket, so that no transaction knows it.
    copy = request.replace(b"Via: ", f"Via: {same.via()}\r\nVia: ".encode(), 1)
    second = await same.request(copy)
    assert bindings(second).keys() == bindings(first).keys()


async def test_parameter_registrar_options_says_that_register_is_served(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(running_set)
    options = register(phone).replace(b"REGISTER", b"OPTIONS")
    assert "REGISTER" in (await phone.request(options))["allow"].split(", ")


async def test_aut_a_user_registers_himself_alone(digest_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await user(make_phone, digest_set)
    other = token("other")
    await add_user(digest_set, f"{other}@example.com")
    assert (await phone.request(register(phone, phone.contact))).status == 401
    proof = Digest(await challenged(phone), phone.user)

    def proved(aor: str) -> bytes:
        row = proof.header("REGISTER", "sip:example.com")
        return register(phone, phone.contact, aor=aor, extra=(row,), expires=600)

    assert bindings(await phone.request(proved(phone.aor))) == {phone.contact.strip("<>"): 600}
    refused = await phone.request(proved(f"sip:{other}@example.com"))
    assert (refused.status, refused.start.partition(" 403 ")[2]) == (403, "Not your registration")


async def test_a_client_may_name_the_edge_itself(running_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(running_set)
    edge = f"sip:{host_port(*running_set.sip)};transport=udp"
    response = await phone.request(register(phone, phone.contact, uri=edge, extra=(f"Route: <{edge};lr>",)))
    assert len(bindings(response)) == 1


async def test_out_06_a_client_that_moved_is_told_at_its_new_address(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, home = await make_phone(running_set), await make_phone(running_set)
    away = await make_phone(running_set, user=home.user)
    instance = f'+sip.instance="<urn:uuid:{token()}>"'
    tag = await alice.published()
    dialog = home.dialog(alice.aor)
    await home.request(home.subscribe(dialog, contact=f"{home.contact};{instance}"))
    first = await home.next_notify()
    await home.close()
    bound = await away.request(register(away, f"{away.contact};{instance}", expires=600))
    assert bindings(bound) == {away.contact.strip("<>"): 600}

    async def follows() -> bool:
        [row] = await subscriptions(running_set, alice.aor)
        return bool(row["contact"] == away.contact.strip("<>"))

    await until(follows, "the dialog follows")
    await alice.request(alice.publish(if_match=tag, body=pidf(alice.aor, note="moved")))
    notify = await away.notify_where(lambda one: b"moved" in one.body)
    assert notify["call-id"] == first["call-id"]
    assert int(notify["cseq"].split()[0]) > int(first["cseq"].split()[0])
    assert notify.start.split()[1] == away.contact.strip("<>")
    # In the same dialog it goes on from there.
    dialog.to_tag, dialog.cseq = parameter(first["from"], "tag") or "", 2
    refreshed = await away.request(away.subscribe(dialog, contact=f"{away.contact};{instance}"))
    assert refreshed.status == 200
