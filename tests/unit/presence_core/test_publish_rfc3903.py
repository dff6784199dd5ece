"""PUBLISH planned and concluded (RFC 3903 section 6; rows PUB, UAS-11, UAS-25, PRS-04, PRS-15)."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand, PublishVerdict, conclude_publish, plan_publish
from tests.integration.calls import ALICE, publish
from tests.phone import pidf
from vedette.events.registry import ALLOW_EVENTS
from vedette.identity import entity_tag, parse_entity_tag, presentity
from vedette.rpc.contract import PublishCall, Reply

POLICY = Policy(secret=b"s" * 32, domains=frozenset({"example.com"}), min_expires=60, max_expires_publish=3600)
ID = bytes(range(16))
TAG = entity_tag(ID, 7)


def planned(call: PublishCall, policy: Policy = POLICY) -> PublishCommand:
    """The command of a call that the database has to judge."""
    plan = plan_publish(call, policy)
    assert isinstance(plan, PublishCommand), plan
    return plan


def refused(call: PublishCall, policy: Policy = POLICY) -> Reply:
    """The answer to a call that never reaches the database."""
    plan = plan_publish(call, policy)
    assert isinstance(plan, Reply), plan
    return plan


def verdict(word: str, sequence: int = 8, granted: int = 600) -> PublishVerdict:
    return PublishVerdict(word, sequence, granted, at=1000.0)


# what is asked of the database


def test_pub_01_an_initial_publication_becomes_a_command_with_a_publication_of_its_own() -> None:
    call = publish(expires=600)
    command = planned(call)
    assert command.presentity == presentity(ALICE, "presence")
    assert (command.sequence, command.expires) == (None, 600)
    assert (command.content_type, command.body) == ("application/pidf+xml", call.body)
    assert command.publication_id == command.key
    assert command.refusal is None


def test_pub_14_pub_15_and_pub_16_later_publications_name_the_one_they_are_about() -> None:
    refresh = planned(publish(etag=TAG, expires=600))
    assert (refresh.publication_id, refresh.sequence, refresh.expires, refresh.body) == (ID, 7, 600, None)
    modify = planned(publish(etag=TAG, expires=600, body=pidf(ALICE)))
    assert (modify.publication_id, modify.sequence, modify.body) == (ID, 7, pidf(ALICE))
    remove = planned(publish(etag=TAG, expires=0))
    assert (remove.publication_id, remove.sequence, remove.expires, remove.body) == (ID, 7, 0, None)


def test_pub_17_a_body_beside_expires_0_is_not_stored() -> None:
    assert planned(publish(etag=TAG, expires=0, body=pidf(ALICE))).expires == 0
    reply = refused(publish(expires=0))
    assert (reply.status, dict(reply.headers)["Expires"]) == (200, "0")
    tag = parse_entity_tag(dict(reply.headers)["SIP-ETag"])
    assert tag is not None
    assert tag[0] != ID


@pytest.mark.parametrize(
    "uri",
    [
        "sip:alice@example.com", "sips:alice@example.com", "pres:alice@example.com", "sip:alice@EXAMPLE.com",
        "sip:alice@example.com:5060", "sip:alice@example.com;transport=tcp", "SIP:alice@example.com.",
        "sip:%61lice@example.com",
    ],
)  # fmt: skip
def test_prs_15_and_pub_35_every_form_of_the_request_uri_means_one_presentity(uri: str) -> None:
    assert planned(publish(uri)).presentity == presentity(ALICE, "presence")


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/pidf+xml", None),
        ('Application/PIDF+XML;charset="UTF-8"', None),
        ("application/pidf+xml ; q=1 ; x", None),
        ("application/pidf+xml", "identity"),
        ("application/pidf+xml", " Identity "),
    ],
)
def test_pub_31_the_media_type_is_compared_without_case_and_parameters(
    content_type: str, encoding: str | None
) -> None:
    call = publish(content_type=content_type, content_encoding=encoding)
    assert planned(call).content_type == "application/pidf+xml"


@pytest.mark.parametrize(
    ("asked", "minimum", "maximum", "granted"),
    [
        ("10", 0, 3600, 10),
        ("3600", 0, 3600, 3600),
        ("3601", 0, 3600, 3600),
        ("1000000000", 0, 3600, 3600),
        ("4294967295", 0, 7200, 7200),
        ("60", 60, 3600, 60),
        ("3600", 7200, 7200, 3600),
        ("3599", 3599, 3600, 3599),
        (None, 0, 7200, 3600),
        (None, 0, 1800, 1800),
        (None, 60, 3600, 3600),
        ("00600", 0, 3600, 600),
    ],
)
def test_pub_09_pub_10_and_prs_04_the_lifetime_is_honoured_or_shortened(
    asked: str | None, minimum: int, maximum: int, granted: int
) -> None:
    policy = Policy(secret=b"s" * 32, min_expires=minimum, max_expires_publish=maximum)
    command = planned(publish(expires=None, body=pidf(ALICE)), policy)
    assert command.refusal is None
    command = planned(msgspec.structs.replace(publish(), expires=asked), policy)
    assert (command.expires, command.refusal) == (granted, None)


@pytest.mark.parametrize(
    ("asked", "minimum", "status"),
    [
        (0, 60, 200),
        (1, 60, 423),
        (59, 60, 423),
        (60, 60, 0),
        (61, 60, 0),
        (1, 0, 0),
        (3599, 7200, 423),
        (3600, 7200, 0),
    ],
)
def test_pub_11_too_brief_is_between_0_and_the_minimum_and_below_an_hour(
    asked: int, minimum: int, status: int
) -> None:
    policy = Policy(secret=b"s" * 32, min_expires=minimum, max_expires_publish=7200)
    plan = plan_publish(publish(expires=asked), policy)
    assert (plan.status if isinstance(plan, Reply) else 0) == status
    if status == 423:
        assert isinstance(plan, Reply)
        assert plan.headers == [("Min-Expires", str(minimum))]


# what is refused without it


REFUSED: list[tuple[str, dict[str, Any], int, list[tuple[str, str]]]] = [
    ("in a dialog of others", {"to_tag": "a"}, 481, []),
    ("foreign domain", {"request_uri": "sip:alice@example.net"}, 404, []),
    ("sub-domain", {"request_uri": "sip:alice@a.example.com"}, 404, []),
    ("no user", {"request_uri": "sip:example.com"}, 404, []),
    ("other scheme", {"request_uri": "tel:+1234"}, 416, []),
    ("malformed URI", {"request_uri": "sip:"}, 400, []),
    ("port out of range", {"request_uri": "sip:alice@example.com:65536"}, 400, []),
    ("no event", {"event": None}, 489, [("Allow-Events", ALLOW_EVENTS)]),
    ("unknown event", {"event": "vacation"}, 489, [("Allow-Events", ALLOW_EVENTS)]),
    ("another case", {"event": "Presence"}, 489, [("Allow-Events", ALLOW_EVENTS)]),
    ("a template", {"event": "presence.winfo"}, 489, [("Allow-Events", ALLOW_EVENTS)]),
    ("malformed event", {"event": "presence;;"}, 400, []),
    ("two events", {"event": "presence, dialog"}, 400, []),
    ("empty event", {"event": ""}, 400, []),
    ("two tags", {"if_match": [TAG, TAG]}, 400, []),
    ("list of tags", {"if_match": [f"{TAG}, {TAG}"]}, 400, []),
    ("any tag", {"if_match": ["*"]}, 400, []),
    ("quoted tag", {"if_match": [f'"{TAG}"']}, 400, []),
    ("empty tag", {"if_match": [""]}, 400, []),
    ("a tag that nobody made", {"if_match": ["abc"]}, 412, []),
    ("a tag cut short", {"if_match": [TAG[:-2]]}, 412, []),
    ("a tag in capitals", {"if_match": [TAG.upper()]}, 412, []),
    ("a tag with a sign", {"if_match": [TAG.replace(".7", ".-7")]}, 412, []),
    ("a tag with zeros", {"if_match": [TAG.replace(".7", ".07")]}, 412, []),
    ("a tag beyond all numbers", {"if_match": [TAG.replace(".7", ".9999999999")]}, 412, []),
    ("too brief", {"expires": "59"}, 423, [("Min-Expires", "60")]),
    ("no number", {"expires": "soon"}, 400, []),
    ("negative", {"expires": "-1"}, 400, []),
    ("beyond 32 bits", {"expires": "4294967296"}, 400, []),
    ("a fraction", {"expires": "1.5"}, 400, []),
    ("no body", {"body": b""}, 400, []),
    ("no body and no lifetime", {"body": b"", "expires": "0"}, 400, []),
    ("no type", {"content_type": None}, 400, []),
    ("malformed type", {"content_type": "application"}, 400, []),
    ("other type", {"content_type": "text/plain"}, 415, [("Accept", "application/pidf+xml")]),
    ("several bodies", {"content_type": "multipart/related;boundary=x"}, 415, [("Accept", "application/pidf+xml")]),
    ("a relative", {"content_type": "application/pidf-diff+xml"}, 415, [("Accept", "application/pidf+xml")]),
    ("another package's", {"content_type": "application/dialog-info+xml"}, 415, [("Accept", "application/pidf+xml")]),
    ("compressed", {"content_encoding": "gzip"}, 415, [("Accept-Encoding", "identity")]),
    ("not well-formed", {"body": b"<presence"}, 400, []),
    ("not PIDF", {"body": b"<presence/>"}, 400, []),
    ("a document type", {"body": b"<!DOCTYPE a>" + pidf(ALICE)}, 400, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "status", "headers"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_pub_02_pub_03_pub_04_pub_11_pub_12_pub_13_pub_30_pub_32_pub_34_pub_40_refusals(
    fields: dict[str, Any], status: int, headers: list[tuple[str, str]]
) -> None:
    reply = refused(msgspec.structs.replace(publish(), **fields))
    assert (reply.status, reply.headers) == (status, headers)
    assert reply.reason or status != 400
    assert "Contact" not in dict(reply.headers)


def test_uas_26_the_reason_names_the_field_at_fault_and_quotes_nothing() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"event": '"<evil>\r\n'}, "Event"),
        ({"expires": '"<evil>\r\n'}, "Expires"),
        ({"if_match": ['"<evil>\r\n']}, "SIP-If-Match"),
        ({"content_type": '"<evil>\r\n'}, "Content-Type"),
        ({"content_type": None}, "Content-Type"),
        ({"request_uri": "sip:<evil>"}, "URI"),
        ({"body": b"<evil"}, "PIDF"),
    ]
    for fields, named in cases:
        reason = refused(msgspec.structs.replace(publish(), **fields)).reason
        assert named in reason
        assert not {"\r", "\n", '"', "<"} & set(reason)
        assert "evil" not in reason


IN_ORDER: list[tuple[str, dict[str, Any], int]] = [
    ("dialog", {"to_tag": "a"}, 481),
    ("resource", {"request_uri": "sip:alice@elsewhere.example"}, 404),
    ("event", {"event": "vacation"}, 489),
    ("SIP-If-Match", {"if_match": ["one", "two"]}, 400),
    ("Expires", {"expires": "59"}, 423),
    ("encoding", {"content_encoding": "gzip"}, 415),
    ("type", {"content_type": "text/plain"}, 415),
    ("content", {"body": b"<"}, 400),
]


@pytest.mark.parametrize("first", range(len(IN_ORDER)), ids=[row[0] for row in IN_ORDER])
def test_pub_the_checks_run_in_the_order_of_section_6_and_the_first_decides(first: int) -> None:
    fields: dict[str, Any] = {}
    for _, fault, _ in IN_ORDER[first:]:
        fields |= fault
    assert refused(msgspec.structs.replace(publish(), **fields)).status == IN_ORDER[first][2]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"expires": "59"}, 423),
        ({"expires": "soon"}, 400),
        ({"body": pidf(ALICE), "content_type": "text/plain"}, 415),
        ({"body": pidf(ALICE), "content_encoding": "gzip"}, 415),
        ({"body": b"<", "content_type": "application/pidf+xml"}, 400),
        ({"body": b"x", "content_type": None}, 400),
        ({"expires": "59", "body": b"<", "content_type": "application/pidf+xml"}, 423),
    ],
)
def test_pub_06_and_pub_32_faults_after_sip_if_match_wait_for_what_the_database_says_of_the_tag(
    fields: dict[str, Any], status: int
) -> None:
    command = planned(msgspec.structs.replace(publish(etag=TAG), **fields))
    assert (command.publication_id, command.sequence) == (ID, 7)
    assert command.refusal is not None
    assert command.refusal.status == status
    assert conclude_publish(command, verdict("unmatched"), POLICY).status == 412
    assert conclude_publish(command, verdict("withheld"), POLICY) == command.refusal


@pytest.mark.parametrize("content_type", [None, "application/pidf+xml", "text/plain", "nonsense"])
def test_clients_a_refresh_may_name_a_type_without_having_a_body(content_type: str | None) -> None:
    command = planned(publish(etag=TAG, content_type=content_type))
    assert (command.body, command.content_type, command.refusal) == (None, None, None)


# what is answered


@pytest.mark.parametrize("word", ["created", "modified", "refreshed", "removed", "replayed"])
def test_pub_01_pub_07_pub_21_pub_22_pub_43_success_has_a_tag_and_a_lifetime_and_nothing_else(word: str) -> None:
    reply = conclude_publish(planned(publish(etag=TAG)), verdict(word, sequence=8, granted=600), POLICY)
    assert reply == Reply(200, headers=[("Expires", "600"), ("SIP-ETag", entity_tag(ID, 8))])


def test_pub_07_the_tag_of_a_new_publication_names_the_publication_of_the_command() -> None:
    command = planned(publish())
    tag = dict(conclude_publish(command, verdict("created", sequence=1), POLICY).headers)["SIP-ETag"]
    assert parse_entity_tag(tag) == (command.publication_id, 1)
    later = planned(publish(etag=tag))
    assert (later.publication_id, later.sequence) == (command.publication_id, 1)


def test_pub_06_a_tag_that_matches_nothing_is_412() -> None:
    assert conclude_publish(planned(publish(etag=TAG)), verdict("unmatched"), POLICY) == Reply(412)


# the key of a request


def test_pub_08_a_copy_of_a_request_has_its_key_and_every_other_request_another() -> None:
    call = publish()
    assert planned(call).key == planned(msgspec.structs.replace(call, body=pidf(ALICE))).key
    others: list[dict[str, Any]] = [
        {"call_id": "other"}, {"cseq": 2}, {"from_tag": "other"}, {"client_branch": "z9hG4bKother"},
        {"request_uri": "sip:bob@example.com"}, {"event": "presence;id=1"},
    ]  # fmt: skip
    keys = {planned(msgspec.structs.replace(call, **fields)).key for fields in others}
    assert len(keys) == len(others)
    assert planned(call).key not in keys
    assert planned(call, Policy(secret=b"t" * 32)).key != planned(call).key


HEADER_TEXT = (
    st.none() | st.text(max_size=20) | st.sampled_from(["presence", "600", "0", TAG, "application/pidf+xml"])
)


@given(
    request_uri=st.text(max_size=30) | st.just(ALICE),
    event=HEADER_TEXT,
    expires=HEADER_TEXT,
    if_match=st.lists(st.text(max_size=20) | st.just(TAG), max_size=2),
    content_type=HEADER_TEXT,
    content_encoding=HEADER_TEXT,
    body=st.binary(max_size=20) | st.just(pidf(ALICE)),
    to_tag=st.sampled_from(["", "a"]),
)
def test_uas_25_whatever_stands_in_a_publish_there_is_an_answer_or_a_command(**fields: Any) -> None:
    call = PublishCall(call_id="c", cseq=1, from_uri="", from_tag="", client_branch="", **fields)
    plan = plan_publish(call, POLICY)
    if isinstance(plan, Reply):
        assert plan.status in {200, 400, 404, 412, 415, 416, 423, 481, 489}
        assert (plan.status == 200) == ("SIP-ETag" in dict(plan.headers))
        return
    assert 0 <= plan.expires <= 3600
    assert (plan.sequence is None) == (not fields["if_match"])
    assert (plan.body is None) == (plan.content_type is None)
    assert plan.sequence is not None or (plan.body and plan.expires and plan.refusal is None)


# who publishes


def test_pub_25_aut_16_who_has_proved_who_he_is_publishes_for_himself_only() -> None:
    assert planned(publish(publisher=ALICE)).presentity == presentity(ALICE, "presence")
    assert planned(publish("sip:alice@Example.com:5060;x=1", publisher=ALICE)).presentity.uri == ALICE
    for publisher in ("sip:mallory@example.com", "sip:Alice@example.com", "sip:alice@example.net"):
        for call in (publish(publisher=publisher), publish(publisher=publisher, etag=TAG, expires=0)):
            assert (refused(call).status, refused(call).reason) == (403, "Not your presentity")
    assert refused(publish("sip:alice@elsewhere.example", publisher=ALICE)).status == 404


def test_parameter_sip_uri_match_counts_for_the_publisher_too() -> None:
    policy = Policy(secret=POLICY.secret, sip_uri_match=True)
    assert (
        planned(publish("sip:ALICE@example.com", publisher="sip:Alice@example.com"), policy).presentity.uri == ALICE
    )
