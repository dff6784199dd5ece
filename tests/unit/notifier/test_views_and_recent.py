"""Documents composed once and remembered a while (rows CMP-10, PRS-12, PRS-18, NOT-24, CMP-15)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain import views as views_module
from notifier.domain.recent import Recent
from notifier.domain.views import NO_VIEW, ViewKey, Views, digest_of
from tests.dialog_info import TYPE, call, dialogs
from tests.unit.notifier.claimed import ALICE
from vedette.documents.pidf import neutral
from vedette.documents.presence_schema import PIDF
from vedette.documents.versioned import VersionedDocument
from vedette.events.package import Preferences, Publication
from vedette.events.registry import PACKAGES
from vedette.records import PublicationRecord
from vedette.rpc.contract import Document

KEY = ViewKey(ALICE, "presence", 5, "application/pidf+xml")


def publication(number: int, version: int, basic: str = "open") -> PublicationRecord:
    body = f'<presence xmlns="{PIDF}"><tuple id="t"><status><basic>{basic}</basic></status></tuple></presence>'
    return PublicationRecord(bytes([number]) * 16, version, 1, "application/pidf+xml", body.encode(), 2000.0)


def places(document: Document, *numbers: int) -> list[int]:
    return [document.body.index(b'id="t.%02x' % number) for number in numbers]


def test_prs_18_a_presentity_without_publications_has_the_neutral_document() -> None:
    assert Views(10).compose(KEY, []).document == Document("application/pidf+xml", neutral(ALICE))


def test_parameter_notify_offline_body_0_shows_nothing_where_nothing_is_published() -> None:
    silent = Views(10, offline_body=False)
    assert silent.compose(KEY, []).document == Document("application/pidf+xml", b"")
    closed = [publication(1, 5, "closed")]
    assert silent.compose(KEY, closed) == Views(10).compose(KEY, closed)


def test_parameter_notify_offline_body_0_leaves_out_no_document_that_a_package_requires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = replace(PACKAGES["presence"], neutral_is_optional=False)
    monkeypatch.setattr(views_module, "PACKAGES", {"presence": package})
    assert Views(10, offline_body=False).compose(KEY, []).document.body == neutral(ALICE)


def test_clients_8_the_newest_state_comes_first() -> None:
    document = Views(10).compose(KEY, [publication(1, 2), publication(2, 9), publication(3, 5)]).document
    assert places(document, 2, 3, 1) == sorted(places(document, 2, 3, 1))


def test_cmp_10_and_prs_12_the_document_does_not_depend_on_the_order_in_which_publications_are_read() -> None:
    publications = [publication(1, 3), publication(2, 3), publication(3, 4, "closed"), publication(4, 1)]
    seen = {Views(10).compose(KEY, order) for order in permutations(publications)}
    assert len(seen) == 1


def test_parameter_suppress_unchanged_compares_type_and_body_and_nothing_else() -> None:
    views = Views(10)
    here = views.compose(KEY, [publication(1, 3)])
    assert views.compose(KEY._replace(version=9), [publication(1, 9)]).digest == here.digest
    assert views.compose(KEY._replace(version=9), [publication(2, 9)]).digest != here.digest
    assert views.compose(KEY._replace(version=9), [publication(1, 9, "closed")]).digest != here.digest
    assert digest_of(here.document) == here.digest
    assert len(here.digest) == 16 != len(NO_VIEW)


@given(st.text(), st.binary(), st.text(), st.binary())
def test_digests_differ_where_documents_do(media_type: str, body: bytes, other_type: str, other: bytes) -> None:
    documents = Document(media_type.replace("\0", ""), body), Document(other_type.replace("\0", ""), other)
    assert (digest_of(documents[0]) == digest_of(documents[1])) == (documents[0] == documents[1])


def test_a_document_is_composed_once_for_each_view() -> None:
    views = Views(10)
    assert views.get(KEY) is None
    document = views.compose(KEY, [publication(1, 5)])
    assert views.get(KEY) is document
    assert views.compositions == 1


@pytest.mark.parametrize(
    "other",
    [
        KEY._replace(presentity_uri="sip:carol@example.com"),
        KEY._replace(event="dialog"),
        KEY._replace(version=6),
        KEY._replace(media_type="application/xpidf+xml"),
    ],
)
def test_not_24_a_view_is_a_presentity_at_a_version_in_a_media_type(other: ViewKey) -> None:
    views = Views(10)
    views.compose(KEY, [])
    assert views.get(other) is None


def test_views_forget_what_was_used_least_recently() -> None:
    views = Views(2)
    keys = [KEY._replace(version=version) for version in (1, 2, 3)]
    views.compose(keys[0], [])
    views.compose(keys[1], [])
    assert views.get(keys[0]) is not None
    views.compose(keys[2], [])
    assert [views.get(key) is not None for key in keys] == [True, False, True]


def test_a_view_that_cannot_be_composed_is_not_remembered() -> None:
    views = Views(2)
    key = KEY._replace(event="no-such-package")
    with pytest.raises(KeyError):
        views.compose(key, [])
    assert (views.get(key), views.compositions) == (None, 0)


def test_views_are_bounded_by_octets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def compose(
        _uri: str, publications: Sequence[Publication], _type: str, _preferences: Preferences
    ) -> VersionedDocument:
        return VersionedDocument(publications[0].body)

    package = replace(PACKAGES["presence"], compose=compose)
    monkeypatch.setattr(views_module, "PACKAGES", {"presence": package})
    monkeypatch.setattr(views_module, "MAX_OCTETS", 50_000)
    views = Views(1000)
    sizes = [20_000, 20_000, 20_000, 60_000, 1]
    keys = [KEY._replace(version=version) for version in range(len(sizes))]
    for key, size in zip(keys, sizes, strict=True):
        record = PublicationRecord(b"p" * 16, 5, 1, "text/plain", b"x" * size, 2000.0)
        assert len(views.compose(key, [record]).document.body) == size
    assert [views.get(key) is not None for key in keys] == [False, True, True, False, True]


@given(max_weight=st.integers(0, 20), steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=40))
def test_recent_weighs_no_more_than_it_may(max_weight: int, steps: list[tuple[int, int]]) -> None:
    recent: Recent[int, int] = Recent(100, max_weight=max_weight, weigh=lambda _, weight: weight)
    model: list[tuple[int, int]] = []
    for key, weight in steps:
        recent.put(key, weight)
        model = [item for item in model if item[0] != key]
        if weight <= max_weight:
            model.append((key, weight))
        while sum(held for _, held in model) > max_weight:
            model.pop(0)
        assert recent.weight == sum(held for _, held in model) <= max_weight
        assert len(recent) == len(model)


@given(
    limit=st.integers(0, 4),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=40),
)
def test_recent_keeps_the_entries_used_last(limit: int, steps: list[tuple[bool, int]]) -> None:
    recent: Recent[int, int] = Recent(limit)
    model: list[tuple[int, int]] = []
    for number, (put, key) in enumerate(steps):
        held = dict(model)
        if put:
            recent.put(key, number)
            model = [*(item for item in model if item[0] != key), (key, number)][-limit:] if limit else []
        else:
            assert recent.get(key) == held.get(key)
            if key in held:
                model = [*(item for item in model if item[0] != key), (key, held[key])]
        assert len(recent) == len(model) <= limit


def in_a_call(state: str = "confirmed") -> PublicationRecord:
    return PublicationRecord(bytes([9]) * 16, 7, 1, TYPE, dialogs(call(state, "a")), 2000.0)


def test_parameter_mix_dialog_presence_only_1_shows_calls_and_only_in_presence() -> None:
    assert {event: Views(1).mixed_into(event) for event in PACKAGES} == dict.fromkeys(PACKAGES)
    mixing = Views(1, mix_dialog_presence=True)
    assert {event: mixing.mixed_into(event) for event in PACKAGES if mixing.mixed_into(event)} == {
        "presence": "dialog"
    }


@pytest.mark.parametrize("offline_body", [True, False])
def test_cmp_15_a_call_is_shown_where_nothing_else_is_published(*, offline_body: bool) -> None:
    views = Views(10, offline_body=offline_body, mix_dialog_presence=True)
    assert b"<rpid:on-the-phone/>" in views.compose(KEY, [], [in_a_call()]).document.body
    ended = views.compose(KEY, [], [in_a_call("terminated")])
    assert ended == Views(10, offline_body=offline_body).compose(KEY, [])


def test_cmp_15_a_call_that_ends_leaves_what_is_published() -> None:
    views = Views(10, mix_dialog_presence=True)
    talking = views.compose(KEY, [publication(1, 5)], [in_a_call()])
    over = views.compose(KEY, [publication(1, 5)], [in_a_call("terminated")])
    assert b"<rpid:on-the-phone/>" in talking.document.body
    assert places(talking.document, 1)
    assert over == Views(10).compose(KEY, [publication(1, 5)])


def test_cmp_15_calls_that_cannot_be_told_apart_in_presence_have_one_digest() -> None:
    views = Views(10, mix_dialog_presence=True)
    two = [in_a_call(), PublicationRecord(bytes([8]) * 16, 9, 1, TYPE, dialogs(call("confirmed", "b")), 2000.0)]
    assert views.compose(KEY, [], two).digest == views.compose(KEY, [], two[:1]).digest
