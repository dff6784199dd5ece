"""Dialog information composed, changed and remembered (RFC 4235; rows DLI, CMP-14; peers.md, section 7, 1 and 2)."""

import re
from itertools import permutations, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dialog_info import NAMESPACE, call, dialogs, read
from tests.unit.documents.schemas import dialog_info_faults
from tests.vectors import Vector, needs_vectors, vectors
from vedette.documents import dialog_info
from vedette.documents.dialog_info import MAX_DIALOGS, PublishedDialogs, check, is_provisional, merge, remains

ALICE = "sip:alice@example.com"
STATES = ("trying", "proceeding", "early", "confirmed", "terminated")
BODIES = vectors("body/dialog-info")
PLACEHOLDER = re.compile(rb'"%(?:\.\*)?[sd]"|%(?:\.\*)?[sd]')
NOT_WHOLE = {
    "body/dialog-info/kamailio_kamailio-defs-L123.tmpl.xml": "a string literal of C with its escapes",
    "body/dialog-info/kamailio_kamailio-defs-L139.tmpl.xml": "a string literal of C with its escapes",
    "body/dialog-info/signalwire_freeswitch-sofia_presence-L2425.tmpl.xml": "the first line of a document",
}


def composed(*bodies: bytes, single: bool = False, line: bool = False) -> bytes:
    """The document of these publications, the newest first."""
    published = [PublishedDialogs(body, f"p{number}") for number, body in enumerate(bodies)]
    return dialog_info.compose(ALICE, published, single=single, line=line).with_version(3)


def states(*bodies: bytes) -> list[str]:
    return read(composed(*bodies)).states


# reading


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in BODIES if v.expected == ["accept"]], ids=str)
def test_dli_11_pub_33_documents_of_real_publishers_are_taken_and_come_out_valid(vector: Vector) -> None:
    assert check(vector.data) is None
    document = composed(vector.data)
    assert dialog_info_faults(document) == []
    seen = read(document)
    assert (seen.state, seen.entity, seen.version) == ("full", ALICE, 3)
    assert len(seen.dialogs) == len(re.findall(rb"<dialog[\s>]", vector.data))


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in BODIES if "reject:400" in v.expected], ids=str)
def test_pub_32_documents_that_are_not_well_formed_are_refused(vector: Vector) -> None:
    assert (check(vector.data) or "").startswith("Dialog info: not well-formed XML")


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in BODIES if v.expected == ["template"]], ids=str)
def test_pub_33_templates_of_other_publishers_are_taken_once_they_are_filled_in(vector: Vector) -> None:
    filled = PLACEHOLDER.sub(b"", vector.data) if vector.path in NOT_WHOLE else vector.data
    assert (check(filled) is not None) == (vector.path in NOT_WHOLE)


@needs_vectors
def test_every_dialog_info_vector_is_one_of_these() -> None:
    known = (["accept"], ["reject:400"], ["reject:400", "accept"], ["template"])
    assert [vector.path for vector in BODIES if vector.expected not in known] == []
    assert set(NOT_WHOLE) <= {vector.path for vector in BODIES}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not well-formed XML at line 1, column 1"),
        (b"<presence/>", "the root element is not dialog-info"),
        (b'<dialog-info xmlns="urn:x"/>', "the root element is not dialog-info"),
        (b'<!DOCTYPE x><dialog-info xmlns="urn:x"/>', "document type declarations are not accepted"),
        (dialogs("<dialog><state>early</state></dialog>"), "a dialog without an id"),
        (dialogs('<dialog id="1"/>'), "a dialog without a state"),
        (dialogs(*[call("early", f"c{n}") for n in range(MAX_DIALOGS + 1)]), f"more than {MAX_DIALOGS} dialogs"),
        (dialogs("<a>" * 70 + "</a>" * 70), "nested deeper than 64 elements"),
    ],
)
def test_pub_32_what_composition_cannot_use_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    assert check(body) == f"Dialog info: {reason}"


@pytest.mark.parametrize(
    ("dialog", "expected"),
    [
        ('<dialog id="1" direction="receiver"><state>early</state></dialog>', 'direction="recipient"'),
        ('<dialog id="1" direction="up"><state>early</state></dialog>', '<dialog id="1"><state>'),
        (
            '<dialog call-id="a&amp;b"><state> EARLY </state></dialog>',
            '<dialog id="a&amp;b" call-id="a&amp;b"><state>early<',
        ),
        (
            '<dialog id="1"><state event="rejected" code="486">terminated</state></dialog>',
            'event="rejected" code="486">',
        ),
        (
            '<dialog id="1"><state event="bored" code="42" reason="x">terminated</state></dialog>',
            "<state>terminated<",
        ),
        ('<dialog id="1"><state>committed</state></dialog>', "<state>confirmed</state>"),
        (
            call("early", more='<local><target uri="sip:a@b"><param pname="x-line-id" pvalue="0"/></target></local>'),
            '<local><target uri="sip:a@b"><param pname="x-line-id" pval="0"/></target></local>',
        ),
        (
            call(
                "early",
                more="<local><target uri='sip:a@b'><param pname='p' pval='\"a &amp; \\\"b\\\"\"'/></target></local>",
            ),
            '<param pname="p" pval="a &amp; &quot;b&quot;"/>',
        ),
        (
            call("early", more="<remote><identity>moh@b:5120</identity></remote>"),
            "<identity>sip:moh@b:5120</identity>",
        ),
        (
            call("early", more='<remote><identity display="B &lt;o&gt;b">"B" &lt;sip:b@c&gt;</identity></remote>'),
            '<identity display="B &lt;o&gt;b">sip:b@c</identity>',
        ),
        (call("early", more="<duration>7</duration><junk/>text"), "</state><duration>7</duration></dialog>"),
        (
            call(
                "early",
                more="<remote><cseq>2</cseq><session-description type='a/sdp'>v</session-description></remote>",
            ),
            "<remote><cseq>2</cseq></remote>",
        ),
    ],
)
def test_dli_07_dli_10_dli_11_dli_14_what_is_lax_is_written_as_the_schema_has_it(dialog: str, expected: str) -> None:
    document = composed(dialogs(dialog))
    assert expected in document.decode()
    assert dialog_info_faults(document) == []


def test_dli_25_elements_of_other_namespaces_are_kept() -> None:
    sa = "urn:ietf:params:xml:ns:sa-dialog-info"
    body = dialogs(f'<dialog xmlns:sa="{sa}" id="1"><sa:appearance>2</sa:appearance><state>early</state></dialog>')
    document = composed(body)
    assert f'<state>early</state><sa:appearance xmlns:sa="{sa}">2</sa:appearance></dialog>' in document.decode()


# composing


def test_dli_04_cmp_04_nothing_published_is_a_document_without_a_dialog() -> None:
    document = composed()
    assert read(document) == read(dialogs().replace(b'version="7"', b'version="3"'))
    assert dialog_info_faults(document) == []


def test_dli_02_the_version_has_its_place_whatever_stands_in_the_document() -> None:
    entity = 'sip:a version="1"@example.com'
    document = dialog_info.compose(entity, [PublishedDialogs(dialogs(call("early", ' version="9')), "p")])
    for version in (0, 1, 4711):
        seen = read(document.with_version(version))
        assert (seen.version, seen.entity) == (version, entity)


def test_cmp_14_the_dialogs_of_all_publications_are_united_and_the_presentity_is_their_entity() -> None:
    seen = read(composed(dialogs(call("confirmed", "a")), dialogs(call("early", "b"), call("trying", "c"))))
    assert seen.entity == ALICE
    assert seen.dialogs == [("b", "early"), ("a", "confirmed"), ("c", "trying")]


def test_clients_8_parameter_force_single_dialog_the_most_interesting_dialog_comes_first() -> None:
    bodies = [dialogs(call(state, state)) for state in STATES]
    order = ["early", "confirmed", "proceeding", "trying", "terminated"]
    for some in permutations(bodies):
        assert states(*some) == order
        assert read(composed(*some, single=True)).states == ["early"]
    assert read(composed(bodies[4], bodies[0], single=True)).states == ["trying"]
    assert read(composed(single=True)).states == []


def test_dli_09_equal_ids_of_different_dialogs_are_made_different_whichever_came_first() -> None:
    one, two = dialogs(call("early", "a", name="1")), dialogs(call("confirmed", "b", name="1"), call("early", "c"))
    first, second = read(composed(one, two)).dialogs, read(composed(two, one)).dialogs
    assert sorted(first) == sorted(second)
    assert [name.partition(".")[0] for name, _ in first] == ["1", "c", "1"]
    changed = dialogs(call("confirmed", "a", name="1"))
    assert {name for name, _ in read(composed(changed, two)).dialogs} == {name for name, _ in first}
    without = [dialogs(call("early", None, name="1")), dialogs(call("confirmed", None, name="1"))]
    assert read(composed(*without)).dialogs == [("1.p0", "early"), ("1.p1", "confirmed")]


def test_dli_09_the_legs_of_a_forked_call_have_ids_of_their_own() -> None:
    forked = dialogs(*(call("early", "a", name="x", local="l", remote=tag) for tag in ("r1", "r2", "r3")))
    first = read(composed(forked)).dialogs
    assert len(first) == 3
    assert {name for name, _ in first} == {
        name for name, _ in read(composed(dialogs(call("early", "b")), forked)).dialogs[1:]
    }


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_dli_15_one_dialog_in_two_publications_is_shown_once_in_its_furthest_state(before: str, after: str) -> None:
    """A publisher that lost its entity tag, or did not wait for it, publishes the same call a second time."""
    tags = {"local": "l", "remote": "r"}
    pair = dialogs(call(before, "a", **tags)), dialogs(call(after, "a", **tags))
    furthest = max(before, after, key=STATES.index)
    assert states(*pair) == states(*reversed(pair)) == [furthest]


@pytest.mark.parametrize(
    ("late", "ended", "expected"),
    [
        (call("early", "a"), call("terminated", "a", local="l", remote="r"), ["terminated"]),
        (call("trying", "a", local="l"), call("terminated", "a", local="l", remote="r"), ["terminated"]),
        (call("early", "a", local="l", remote="r"), call("terminated", "a"), ["terminated"]),
        (
            call("early", "a", local="l", remote="r2"),
            call("terminated", "a", local="l", remote="r1"),
            ["early", "terminated"],
        ),
        (call("early", "a", name="x"), call("terminated", "a", name="y"), ["early", "terminated"]),
        (call("early", None, name="x"), call("terminated", None, name="x"), ["early", "terminated"]),
        (call("early", "b", name="x"), call("terminated", "a", name="x"), ["early", "terminated"]),
    ],
)
def test_dli_15_a_late_state_lights_no_lamp_but_another_call_does(late: str, ended: str, expected: list[str]) -> None:
    """Without a Call-ID nobody knows whether two publishers mean one call; such ids are used again and again."""
    assert states(dialogs(late), dialogs(ended)) == states(dialogs(ended), dialogs(late)) == expected


def test_a_document_is_believed_about_its_own_dialogs_unless_two_are_one() -> None:
    ended = call("terminated", "a", local="l", remote="r")
    assert states(dialogs(ended, call("early", "a"))) == ["early", "terminated"]
    assert states(dialogs(ended, call("early", "a", local="l", remote="r"))) == ["terminated"]
    assert states(dialogs(call("early", "a"), call("trying", "a", local="l"))) == ["early"]


def test_what_can_no_longer_be_read_counts_as_not_published() -> None:
    assert states(b"<dialog-info", dialogs(call("early"))) == ["early"]


def test_dli_17_phones_of_a_shared_line_reach_the_far_end_by_its_identity() -> None:
    more = (
        '<local><identity>sip:a@b</identity><target uri="sip:a@192.0.2.1"/></local>'
        '<remote><identity>sip:far@c</identity><target uri="sip:far@192.0.2.2">'
        '<param pname="x" pval="1"/></target></remote>'
    )
    body = dialogs(call("confirmed", more=more))
    line, plain = composed(body, line=True).decode(), composed(body).decode()
    assert '<target uri="sip:far@c"><param' in line
    assert '<target uri="sip:a@192.0.2.1"/>' in line
    assert '<target uri="sip:far@192.0.2.2"><param' in plain


CALLS = st.builds(
    call,
    st.sampled_from(STATES),
    st.sampled_from([None, "a", "b"]),
    name=st.sampled_from(["1", "2"]),
    local=st.sampled_from([None, "l"]),
    remote=st.sampled_from([None, "r1", "r2"]),
)
DOCUMENTS = st.builds(
    lambda calls, state: dialogs(*calls, state=state),
    st.lists(CALLS, max_size=5),
    st.sampled_from(["full", "partial"]),
)


@given(st.lists(DOCUMENTS, max_size=4), st.randoms(use_true_random=False))
def test_cmp_10_cmp_14_what_is_shown_does_not_depend_on_who_came_first(bodies: list[bytes], random: object) -> None:
    published = [PublishedDialogs(body, f"p{number}") for number, body in enumerate(bodies)]
    shuffled = list(published)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (dialog_info.compose(ALICE, some).with_version(0) for some in (published, shuffled))
    assert dialog_info_faults(one) == []
    assert sorted(state for _, state in read(one).dialogs) == sorted(state for _, state in read(other).dialogs)


@given(DOCUMENTS, DOCUMENTS)
def test_what_is_merged_can_be_published_and_merging_again_changes_nothing(held: bytes, published: bytes) -> None:
    merged = merge(held, published)
    assert check(merged) is None
    assert read(composed(merge(merged, merged))).states == read(composed(merged)).states


# changing a publication


def test_a_full_document_replaces_the_one_before() -> None:
    published = dialogs(call("confirmed", "a"))
    assert merge(dialogs(call("early", "a"), call("early", "b")), published) == published


@pytest.mark.parametrize("before", STATES[1:])
def test_dli_15_no_dialog_of_a_publication_returns_to_a_state_that_it_has_left(before: str) -> None:
    held = dialogs(call(before, "a", local="l", remote="r"))
    for after in STATES:
        furthest = max(before, after, key=STATES.index)
        merged = merge(held, dialogs(call(after, "a", local="l"), call("trying", "b")))
        assert [state for _, state in read(merged).dialogs] == [furthest, "trying"]
    other = dialogs(call("early", None, name="a"))
    assert merge(dialogs(call("terminated", None, name="a")), other) == other, "an id alone is used for the next call"


def test_a_partial_document_changes_the_dialogs_that_it_names() -> None:
    held = dialogs(call("confirmed", "a"), call("early", "b"), call("terminated", "c"))
    merged = merge(held, dialogs(call("terminated", "b"), call("trying", "d"), state="partial"))
    assert sorted(read(merged).dialogs) == [("a", "confirmed"), ("b", "terminated"), ("d", "trying")]
    assert read(merged).state == "full"


def test_dli_17_the_empty_document_of_a_phone_that_starts_ends_no_call_of_its_line() -> None:
    held = dialogs(call("confirmed", "a"))
    assert read(merge(held, dialogs(), line=True)).dialogs == [("a", "confirmed")]
    assert merge(held, dialogs()) == dialogs()


def test_a_publication_does_not_grow_without_limit() -> None:
    body = dialogs()
    for number in range(MAX_DIALOGS + 20):
        body = merge(body, dialogs(call("early", f"c{number}"), state="partial"))
        assert len(read(body).dialogs) <= MAX_DIALOGS
        assert check(body) is None
    assert read(body).dialogs[0] == (f"c{MAX_DIALOGS + 19}", "early")
    big = "<junk xmlns='urn:x'>%s</junk>" % ("x" * 60_000)
    for number in range(5):
        body = merge(body, dialogs(call("early", f"big{number}", more=big), state="partial"))
        assert len(body) <= dialog_info.MAX_CARRIED
    assert check(body) is None


# removing a publication


def test_dli_15_what_remains_of_a_publication_are_the_calls_that_it_said_have_ended() -> None:
    ended = dialogs(call("terminated", "a"), call("early", "b"), call("terminated", None, name="c"))
    for held, published in ((ended, None), (None, ended), (dialogs(call("early", "a")), ended), (ended, ended)):
        left = remains(held, published)
        assert left is not None
        assert read(left).dialogs == [("a", "terminated")]
    for nothing in (
        None,
        dialogs(call("confirmed", "a")),
        dialogs(),
        dialogs(call("terminated", None, name="1")),
        b"x",
    ):
        assert remains(nothing, None) is None
        assert remains(None, nothing) is None


@pytest.mark.parametrize(
    ("body", "provisional"),
    [
        (dialogs(call("trying")), True),
        (dialogs(call("early"), call("terminated", "b")), True),
        (dialogs(call("early"), call("confirmed", "b")), False),
        (dialogs(call("terminated")), False),
        (dialogs(), False),
        (b"", False),
    ],
)
def test_dli_16_dli_23_calls_that_are_being_set_up_hold_for_a_short_while(body: bytes, *, provisional: bool) -> None:
    assert is_provisional(body) is provisional


def test_many_publications_of_one_call_are_compared_in_time_that_grows_with_their_number() -> None:
    published = [
        PublishedDialogs(
            dialogs(*(call("early", "a", name="x", local=f"l{number}", remote=f"r{n}") for n in range(MAX_DIALOGS))),
            "p",
        )
        for number in range(100)
    ]
    body = dialog_info.compose(ALICE, published).with_version(0)
    assert body.count(b"<dialog ") == 100 * MAX_DIALOGS
    assert NAMESPACE.encode() in body


ENDED_LEG = call("terminated", "a", local="l", remote="r")


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([call("early", "a")], (None, False)),
        ([call("early", "a", local="l")], (None, False)),
        ([call("early", "a", local="l", remote="r")], ("r", False)),
        ([call("terminated", "a", local="l", remote="r")], ("r", True)),
        (
            [call("terminated", "a", local="l", remote="r"), call("terminated", "a", local="l", remote="s")],
            (None, True),
        ),
        ([call("terminated", "a", local="l", remote="r"), call("early", "a", local="l", remote="s")], None),
        ([call("early", "a"), call("early", "b")], None),
        ([call("terminated", None, name="1")], None),
        ([], None),
    ],
)
def test_dli_15_a_publication_about_one_call_is_known_by_it(
    calls: list[str], expected: tuple[str | None, bool] | None
) -> None:
    found = dialog_info.single_call(dialogs(*calls))
    if found is None:
        assert expected is None
        return
    assert expected is not None
    assert (found.leg is None, found.over) == (expected[0] is None, expected[1])
    assert found.key == getattr(dialog_info.single_call(dialogs(call("trying", "a"))), "key", "")
    assert found.key != getattr(dialog_info.single_call(dialogs(call("trying", "a", name="x"))), "key", "")


def test_dli_15_a_body_that_is_no_document_is_about_no_call() -> None:
    assert dialog_info.single_call(b"<dialog-info") is None


def mutated(random: Random, bodies: list[bytes]) -> bytes:
    """A body with a few octets changed, pieces of another one in it, or a piece of it twice."""
    body = bytearray(random.choice(bodies))
    for _ in range(random.choice((0, 1, 1, 1, 2))):
        begin = random.randrange(len(body) + 1)
        end = min(len(body), begin + random.randint(0, 4))
        kind = random.random()
        if kind < 0.4:
            body[begin:end] = random.randbytes(1)
        elif kind < 0.7:
            other = random.choice(bodies)
            place = random.randrange(len(other))
            body[begin:end] = other[place : place + random.randint(1, 20)]
        else:
            body[begin:begin] = body[begin:end]
    return bytes(body)


@needs_vectors
@pytest.mark.parametrize("seed", range(8))
def test_pub_32_whatever_is_taken_can_be_composed_merged_and_remembered(seed: int) -> None:
    random = Random(seed)
    bodies = [vector.data for vector in BODIES]
    taken = 0
    for _ in range(300):
        body, other = mutated(random, bodies), random.choice(bodies)
        if check(body) is not None:
            continue
        taken += 1
        read(composed(body, other, line=True))
        for merged in (merge(other, body), merge(body, other if check(other) is None else body)):
            assert check(merged) is None
        left = remains(body, other)
        assert left is None or set(states(left)) == {"terminated"}
        assert is_provisional(body) in {True, False}
        dialog_info.single_call(body)
    assert taken > 50
