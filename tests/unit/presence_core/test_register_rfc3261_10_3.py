"""REGISTER planned, judged and concluded (RFC 3261 section 10.3; rows OUT-06, REG as far as a registrar has them)."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from presence_core.domain.policy import Policy
from presence_core.domain.register import (
    Binding,
    RegisterCommand,
    RegisterVerdict,
    conclude_register,
    judge_register,
    plan_register,
)
from vedette.identity import presentity_hash
from vedette.rpc.contract import RegisterCall, Reply
from vedette.sip.flow import Flow

AOR = "sip:alice@example.com"
POLICY = Policy(secret=b"s" * 32, domains=frozenset({"example.com"}))
HOME = Flow("udp", "192.0.2.7", 5060)
AWAY = Flow("udp", "198.51.100.9", 40000)
INSTANCE = "<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"
NOW = 1000.0
PHONE = "sip:alice@192.0.2.7:5060"
DESK = "sip:alice@192.0.2.8"


def register(*contacts: str, **fields: Any) -> RegisterCall:
    call = RegisterCall(
        request_uri="sip:example.com",
        call_id="c1",
        cseq=1,
        from_tag="f",
        to_uri=AOR,
        client_branch="z9hG4bK1",
        contacts=list(contacts),
        expires=None,
        path=[],
        user_agent="phone/1",
        flow=HOME,
        local_address="192.0.2.1:5060",
        edge_instance="edge-1",
        edge_address="127.0.0.1:8072",
    )
    return msgspec.structs.replace(call, **fields)


def planned(call: RegisterCall, policy: Policy = POLICY) -> RegisterCommand:
    plan = plan_register(call, policy)
    assert isinstance(plan, RegisterCommand), plan
    return plan


def refused(call: RegisterCall, policy: Policy = POLICY) -> Reply:
    plan = plan_register(call, policy)
    assert isinstance(plan, Reply), plan
    return plan


class Registrar:
    """The rows of one user, and the clock."""

    def __init__(self, policy: Policy = POLICY, limit: int = 10) -> None:
        self.policy = policy
        self.limit = limit
        self.rows: dict[str, Binding] = {}
        self.now = NOW
        self.cseq = 0

    def judge(self, call: RegisterCall) -> RegisterVerdict:
        verdict = judge_register(planned(call, self.policy), list(self.rows.values()), self.now, self.limit)
        self.rows |= {row.ruid: row for row in verdict.written}
        return verdict

    def send(self, *contacts: str, **fields: Any) -> RegisterVerdict:
        """The next REGISTER of the same client."""
        self.cseq += 1
        fields = {"cseq": self.cseq, "client_branch": f"z9hG4bK{self.cseq}", **fields}
        return self.judge(register(*contacts, **fields))

    def bound(self, *contacts: str, **fields: Any) -> list[str]:
        """The Contacts of the answer to it."""
        return contacts_of(self.send(*contacts, **fields))

    def follows(self) -> dict[str, str | None]:
        return {row.contact: row.follows for row in self.rows.values() if row.expires > self.now}


def contacts_of(verdict: RegisterVerdict) -> list[str]:
    reply = conclude_register(verdict)
    assert reply.status == 200, reply
    return [value for name, value in reply.headers if name == "Contact"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"to_uri": "sip:alice@elsewhere.example"}, 404),
        ({"to_uri": "sip:example.com"}, 404),
        ({"to_uri": "tel:+1"}, 416),
        ({"request_uri": "sip:elsewhere.example"}, 404),
        ({"registrant": "sip:bob@example.com"}, 403),
        ({"contacts": ["*"]}, 400),
        ({"contacts": ["*"], "expires": "60"}, 400),
        ({"contacts": ["*"], "expires": ""}, 400),
        ({"contacts": ["*", f"<{PHONE}>"], "expires": "0"}, 400),
        ({"contacts": ["<>"]}, 400),
        ({"contacts": ["<mailto:alice@example.com>"]}, 400),
        ({"contacts": [f"<{PHONE}>;q=1.1"]}, 400),
        ({"contacts": [f"<sip:{'a' * 2000}@192.0.2.7>"]}, 400),
        ({"contacts": [f"<sip:a@192.0.2.{number}>" for number in range(65)]}, 403),
        ({"contacts": [f"<{PHONE}>;expires=59"]}, 423),
        ({"contacts": [f"<{PHONE}>"], "expires": "1"}, 423),
        ({"contacts": [f"<{PHONE}>", f"<{DESK}>;expires=5"], "expires": "600"}, 423),
    ],
)
def test_what_is_refused_whatever_is_stored(fields: dict[str, Any], status: int) -> None:
    reply = refused(register(**fields))
    assert reply.status == status
    assert [value for name, value in reply.headers if name == "Min-Expires"] == (["60"] if status == 423 else [])


@pytest.mark.parametrize("reg_id", ["0", "2147483648", "99999999999999", "x", "-1"])
def test_out_06_reg_id_0_is_refused(reg_id: str) -> None:
    assert refused(register(f'<{PHONE}>;+sip.instance="{INSTANCE}";reg-id={reg_id}')).status == 400


@pytest.mark.parametrize("uri", ["sip:example.com", "sip:EXAMPLE.com.", "sips:example.com", "sip:192.0.2.1"])
def test_the_request_uri_names_a_domain_or_the_edge(uri: str) -> None:
    assert planned(register(request_uri=uri)).aor == AOR


def test_without_domains_all_are_served() -> None:
    policy = Policy(secret=b"s" * 32)
    call = register(request_uri="sip:anything.example", to_uri="sip:bob@other.example")
    assert planned(call, policy).aor == "sip:bob@other.example"


def test_who_has_proved_who_he_is_registers_himself() -> None:
    command = planned(register(f"<{PHONE}>", registrant=AOR))
    assert (command.aor, command.presentity_hash) == (AOR, presentity_hash(AOR))
    folding = Policy(secret=b"s" * 32, sip_uri_match=True)
    assert planned(register(to_uri="sip:Alice@example.com", registrant="sip:Alice@example.com"), folding).aor == AOR


@pytest.mark.parametrize(
    ("contact", "header", "seconds"),
    [
        ("", None, 1800),
        ("", "600", 600),
        (";expires=300", "600", 300),
        (";expires=86400", None, 3600),
        ("", "4294967295", 3600),
        (";expires=soon", "600", 600),
        (";expires=soon", None, 1800),
        (";expires=99999999999", "soon", 1800),
        (";expires=60", None, 60),
        (";expires=0", None, 0),
    ],
)
def test_parameter_default_expires_register_and_max_expires_register_how_long_a_binding_lasts(
    contact: str, header: str | None, seconds: int
) -> None:
    policy = Policy(secret=b"s" * 32, default_expires_register=1800)
    [change] = planned(register(f"<{PHONE}>{contact}", expires=header), policy).changes
    assert change.seconds == seconds


def test_parameter_min_expires_register_an_hour_is_never_too_brief() -> None:
    strict = Policy(secret=b"s" * 32, min_expires_register=7200, max_expires_register=86400)
    assert refused(register(f"<{PHONE}>;expires=3599"), strict).headers == [("Min-Expires", "7200")]
    assert planned(register(f"<{PHONE}>;expires=3600"), strict).changes[0].seconds == 3600
    # Who asks again for what it was granted at most is not refused.
    brief = Policy(secret=b"s" * 32, min_expires_register=600, max_expires_register=300)
    assert planned(register(f"<{PHONE}>;expires=300"), brief).changes[0].seconds == 300


def test_a_binding_is_made_kept_and_removed() -> None:
    registrar = Registrar()
    assert registrar.bound() == []
    assert registrar.bound(f"<{PHONE}>;expires=600") == [f"<{PHONE}>;expires=600"]
    registrar.now += 100.5
    assert registrar.bound() == [f"<{PHONE}>;expires=500"]
    assert registrar.bound(f"<{PHONE}>;expires=600") == [f"<{PHONE}>;expires=600"]
    assert len(registrar.rows) == 1
    assert registrar.bound(f"<{PHONE}>;expires=0") == []
    assert registrar.bound(f"<{PHONE}>", expires="600") == [f"<{PHONE}>;expires=600"]
    registrar.now += 601
    assert registrar.bound() == []


def test_several_contacts_come_best_first_with_what_they_brought() -> None:
    registrar = Registrar()
    contacts = (
        f"<{PHONE}>;q=0.5;expires=60",
        f'<{DESK}>;+sip.instance="{INSTANCE}";reg-id=2',
        "<sip:alice@192.0.2.9;transport=tcp>;q=1.0;expires=120",
    )
    assert registrar.bound(", ".join(contacts[:2]), contacts[2], expires="600") == [
        *sorted(
            [
                f'<{DESK}>;expires=600;+sip.instance="{INSTANCE}";reg-id=2',
                "<sip:alice@192.0.2.9;transport=tcp>;expires=120;q=1",
            ],
            key=lambda value: next(row.ruid for row in registrar.rows.values() if row.contact in value),
        ),
        f"<{PHONE}>;expires=60;q=0.5",
    ]
    assert registrar.bound("*", expires="0") == []


@pytest.mark.parametrize(
    "other",
    ["sip:alice@192.0.2.7:5060;ob", "SIP:alice@192.0.2.7:5060", "sip:%61lice@192.0.2.7:5060"],
)
def test_uris_that_are_equal_are_one_binding_in_the_form_that_came_last(other: str) -> None:
    registrar = Registrar()
    registrar.send(f"<{PHONE}>")
    assert registrar.bound(f"<{other}>") == [f"<{other}>;expires=3600"]


@pytest.mark.parametrize(
    "other", ["sip:alice@192.0.2.7", "sip:alice@192.0.2.7:5060;transport=tcp", "sips:alice@192.0.2.7:5060"]
)
def test_uris_that_differ_are_two_bindings(other: str) -> None:
    registrar = Registrar()
    registrar.send(f"<{PHONE}>")
    assert len(registrar.bound(f"<{other}>")) == 2


def test_out_06_the_same_instance_and_reg_id_replace_a_contact_and_nothing_is_required() -> None:
    registrar = Registrar()
    registrar.send(f'<{PHONE}>;+sip.instance="{INSTANCE}";reg-id=1')
    registrar.send(f'<{DESK}>;+sip.instance="{INSTANCE}";reg-id=2')
    moved = f'<sip:alice@198.51.100.9>;+sip.instance="{INSTANCE}";reg-id=1'
    verdict = registrar.send(moved, path=["<sip:proxy.example.com;lr;ob>"])
    assert {value.partition(">")[0][1:] for value in contacts_of(verdict)} == {DESK, "sip:alice@198.51.100.9"}
    assert {name for name, _ in conclude_register(verdict).headers} == {"Contact"}


def test_all_or_nothing() -> None:
    registrar = Registrar(limit=2)
    registrar.send(f"<{PHONE}>")
    assert registrar.send(f"<{PHONE}>;expires=0", f"<{DESK}>", "<sip:a@192.0.2.3>", "<sip:a@192.0.2.4>").verdict == (
        "too_many"
    )
    assert registrar.bound() == [f"<{PHONE}>;expires=3600"]


def test_parameter_max_contacts_how_many_a_user_may_have() -> None:
    registrar = Registrar(limit=2)
    registrar.send(f"<{PHONE}>", f"<{DESK}>")
    verdict = registrar.send("<sip:alice@192.0.2.9>")
    assert conclude_register(verdict) == Reply(403, "Too many contacts")
    assert len(registrar.bound(f"<{DESK}>")) == 2
    # One that takes the place of another fits.
    assert len(registrar.bound(f"<{DESK}>;expires=0", "<sip:alice@192.0.2.9>")) == 2
    # What was there when the parameter was lowered may be kept up.
    registrar.limit = 1
    assert len(registrar.bound(f"<{PHONE}>")) == 2
    registrar.limit = 0
    assert len(registrar.bound("<sip:alice@192.0.2.10>")) == 3


def test_what_is_over_is_bounded_too() -> None:
    registrar = Registrar()
    for number in range(300):
        if registrar.send(f"<sip:alice{number}@192.0.2.7>").verdict != "done":
            break
        registrar.send("*", expires="0")
    assert 250 < len(registrar.rows) < 300


def test_a_copy_gets_the_answer_of_its_original_and_changes_nothing() -> None:
    registrar = Registrar()
    call = register(f"<{PHONE}>", cseq=7, expires="600")
    first = registrar.judge(call)
    again = registrar.judge(call)
    assert (again.verdict, again.written) == ("replayed", ())
    assert contacts_of(again) == contacts_of(first)
    # It may come by another edge.
    elsewhere = msgspec.structs.replace(call, edge_instance="edge-2", flow=AWAY)
    assert registrar.judge(elsewhere).verdict == "replayed"


def test_a_late_copy_revives_nothing() -> None:
    registrar = Registrar()
    first = register(f"<{PHONE}>", cseq=1, client_branch="z9hG4bKa")
    registrar.judge(first)
    end = register(f"<{PHONE}>;expires=0", cseq=2, client_branch="z9hG4bKb")
    assert contacts_of(registrar.judge(end)) == []
    assert conclude_register(registrar.judge(first)).status == 500
    assert registrar.judge(end).verdict == "replayed"
    registrar.judge(register(f"<{PHONE}>", cseq=3, client_branch="z9hG4bKc"))
    assert registrar.judge(end).verdict == "out_of_order"
    late = register("*", cseq=2, client_branch="z9hG4bKd", expires="0")
    assert registrar.judge(late).verdict == "out_of_order"
    assert len(registrar.bound(cseq=1)) == 1


def test_cseq_counts_within_a_call_id_only() -> None:
    registrar = Registrar()
    registrar.send(f"<{PHONE}>", cseq=50)
    assert registrar.send(f"<{PHONE}>", cseq=50).verdict == "out_of_order"
    assert registrar.send(f"<{PHONE}>", cseq=49).verdict == "out_of_order"
    assert registrar.send(f"<{PHONE}>", cseq=1, call_id="after a restart").verdict == "done"
    assert registrar.send("*", cseq=1, call_id="c1", expires="0").verdict == "done"


def test_the_same_contact_twice_in_one_request_counts_once_and_the_last_one_wins() -> None:
    registrar = Registrar()
    assert registrar.bound(f"<{PHONE}>;expires=100", f"<{PHONE}>;expires=200") == [f"<{PHONE}>;expires=200"]
    assert registrar.bound(f"<{PHONE}>;expires=100", f"<{PHONE}>;expires=0") == []


# whose dialogs follow


def settled(registrar: Registrar) -> None:
    """The dialogs have followed."""
    registrar.rows = {ruid: replace(row, follows=None) for ruid, row in registrar.rows.items()}


def test_dialogs_follow_a_binding_that_is_new_or_has_another_flow_and_no_refresh() -> None:
    registrar = Registrar()
    registrar.send(f"<{PHONE}>")
    assert registrar.follows() == {PHONE: ""}
    registrar.send(f"<{PHONE}>")
    assert registrar.follows() == {PHONE: ""}, "not done yet"
    settled(registrar)
    registrar.send(f"<{PHONE}>")
    assert registrar.follows() == {PHONE: None}
    registrar.send(f"<{PHONE}>", flow=Flow("tcp", "192.0.2.7", 40001, 8))
    assert registrar.follows() == {PHONE: PHONE}
    settled(registrar)
    registrar.send(f"<{PHONE}>", flow=Flow("tcp", "192.0.2.7", 40001, 8), edge_instance="edge-2")
    assert registrar.follows() == {PHONE: PHONE}
    settled(registrar)
    registrar.send(f"<{PHONE}>")
    settled(registrar)
    registrar.send(f"<{PHONE}>", edge_instance="edge-3")
    assert registrar.follows() == {PHONE: None}, "any edge reaches it"


@pytest.mark.parametrize("ends_the_old_one", [True, False])
def test_the_same_call_id_with_another_contact_is_a_client_that_moved(*, ends_the_old_one: bool) -> None:
    registrar = Registrar()
    registrar.send(f"<{PHONE}>")
    settled(registrar)
    old = [f"<{PHONE}>;expires=0"] if ends_the_old_one else []
    registrar.send(*old, "<sip:alice@198.51.100.9:40000>", flow=AWAY)
    assert registrar.follows()["sip:alice@198.51.100.9:40000"] == PHONE


def test_another_call_id_may_be_another_device() -> None:
    registrar = Registrar()
    registrar.send(f"<{PHONE}>")
    registrar.send(f"<{DESK}>", call_id="c2")
    assert registrar.follows()[DESK] == ""


def test_two_contacts_of_one_request_are_two_places_of_one_client() -> None:
    registrar = Registrar()
    registrar.send(f"<{PHONE}>")
    settled(registrar)
    registrar.send(f"<{PHONE}>", f"<{DESK}>")
    assert registrar.follows() == {PHONE: None, DESK: ""}


def test_behind_a_proxy_nothing_follows() -> None:
    registrar = Registrar()
    registrar.send(f"<{PHONE}>", path=["<sip:proxy.example.com;lr>"])
    assert registrar.follows() == {PHONE: None}
    [row] = registrar.rows.values()
    assert row.path == "<sip:proxy.example.com;lr>"


@pytest.mark.parametrize(
    ("user", "device"),
    [
        ("alice-0x5563ee366da0", "alice-0x5563ee366da0"),
        ("31da0adc2a", "31da0adc2a"),
        ("alice", ""),
        ("12345678", ""),
        ("reception", ""),
        ("a1b2", ""),
    ],
)
def test_a_user_part_that_no_other_device_has(user: str, device: str) -> None:
    registrar = Registrar()
    registrar.send(f"<sip:{user}@192.0.2.7>")
    assert [row.device for row in registrar.rows.values()] == [device]
    short = Registrar()
    short.send(f"<sip:{user}@192.0.2.7>", to_uri=f"sip:{user}@example.com")
    assert [row.device for row in short.rows.values()] == [""]
