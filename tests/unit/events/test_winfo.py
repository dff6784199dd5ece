"""The template package `winfo` (RFC 3857; rows WIN-01, WIN-03, WIN-05, UAS-19)."""

from dataclasses import replace

import pytest

from tests.watcherinfo import read
from vedette.documents.watcherinfo import Watcher
from vedette.events.package import Preferences, WatcherInfoPackage
from vedette.events.presence import PRESENCE
from vedette.events.registry import ALLOW_EVENTS, PACKAGES
from vedette.events.winfo import winfo_of

ALICE = "sip:alice@example.com"
BOB = Watcher("b1", "sip:bob@example.net", "active", "subscribe")


def test_win_01_every_package_has_one_that_shows_its_watchers() -> None:
    templates = {package.base: name for name, package in PACKAGES.items() if isinstance(package, WatcherInfoPackage)}
    once = [f"{name}.winfo" for name in ("dialog", "message-summary", "presence")]
    assert [templates[name.removesuffix(".winfo")] for name in once] == once
    assert sorted(templates) == sorted([*once, *(name.removesuffix(".winfo") for name in once)])


def test_win_02_the_template_applies_to_itself_once() -> None:
    assert PACKAGES["presence.winfo.winfo"].notify_types == ("application/watcherinfo+xml",)
    assert "presence.winfo.winfo.winfo" not in PACKAGES


def test_uas_19_allow_events_has_no_template() -> None:
    assert "winfo" not in ALLOW_EVENTS


def test_win_03_and_win_05_the_package_says_what_rfc_3857_says() -> None:
    package = PACKAGES["presence.winfo"]
    assert package.notify_types == ("application/watcherinfo+xml",)
    assert package.default_expires == 3600
    assert package.publish_types == ()
    assert (
        package.check("application/watcherinfo+xml", b"<watcherinfo/>") == "watcher information cannot be published"
    )


@pytest.mark.parametrize("name", ["presence", "dialog"])
def test_win_01_the_template_applies_to_any_package(name: str) -> None:
    package = winfo_of(replace(PRESENCE, name=name))
    assert (package.name, package.base) == (f"{name}.winfo", name)
    seen = read(package.compose_watchers(ALICE, [BOB], full=False).with_version(3))
    assert (seen.version, seen.state, seen.resource, seen.package) == (3, "partial", ALICE, name)
    assert seen.what == [("sip:bob@example.net", "active", "subscribe")]


def test_nobody_watches_a_presentity_of_which_nothing_is_known() -> None:
    document = PACKAGES["presence.winfo"].compose(ALICE, [], "application/watcherinfo+xml", Preferences())
    seen = read(document.with_version(0))
    assert (seen.version, seen.state, seen.watchers) == (0, "full", [])
