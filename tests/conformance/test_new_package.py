"""A package that nobody has heard of, added as CONTRIBUTING.md says: one file, and its line in the registry.

The set runs on a copy of the library with just that; no other line of it, of the services or of the schema knows it.
"""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.folders import open_folder
from tests.phone import MakePhone, learn, pidf
from tests.running_set import RunningSet, started

LIBRARY = Path(__file__).resolve().parents[2] / "shared" / "vedette"
MODULE = '''
"""How warm it is where somebody is."""

from collections.abc import Sequence

from vedette.documents.versioned import VersionedDocument
from vedette.events.package import EventPackage, Preferences, Publication


def _check(_media_type: str, body: bytes) -> str | None:
    return None if body.strip().isdigit() else "Weather: no number"


def _compose(
    entity: str, publications: Sequence[Publication], _media_type: str, _preferences: Preferences
) -> VersionedDocument:
    warmest = max((int(item.body) for item in publications), default=0)
    return VersionedDocument(f"{entity} {warmest}".encode())


WEATHER = EventPackage(
    name="weather",
    publish_types=("text/x-weather",),
    notify_types=("text/x-weather",),
    default_expires=900,
    check=_check,
    compose=_compose,
)
'''


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def warm_set() -> AsyncIterator[RunningSet]:
    """A set that serves the package."""
    with open_folder("library") as folder:
        copy = folder / "vedette"
        shutil.copytree(LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "events" / "weather.py").write_text(MODULE, encoding="utf-8")
        registry = copy / "events" / "registry.py"
        text = registry.read_text(encoding="utf-8")
        changed = text.replace("MESSAGE_SUMMARY, PRESENCE)", "MESSAGE_SUMMARY, PRESENCE, WEATHER)")
        changed = changed.replace("\n\n_PACKAGES", "\nfrom vedette.events.weather import WEATHER\n\n_PACKAGES")
        assert len(changed.splitlines()) == len(text.splitlines()) + 1
        assert changed.count("WEATHER") == 2
        registry.write_text(changed, encoding="utf-8")
        async with started("--cores", "1", extra={"PYTHONPATH": str(folder)}) as running:
            yield running


async def test_a_package_of_one_file_is_published_watched_and_its_watchers_are_watched(
    warm_set: RunningSet, running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob, carol = [await make_phone(warm_set) for _ in range(3)]
    uri = bob.aor  # without rules everybody watches himself alone

    def publish(body: bytes, content_type: str = "text/x-weather") -> bytes:
        return alice.publish(uri, event="weather", content_type=content_type, body=body, expires=None)

    refused = await alice.request(publish(b"warm"))
    assert (refused.status, refused.start.endswith("Weather: no number")) == (400, True)
    other = await alice.request(publish(pidf(), "application/pidf+xml"))
    assert (other.status, other["accept"]) == (415, "text/x-weather")
    unknown = await alice.request(alice.publish(uri, event="tides", body=b"7"))
    assert "weather" in unknown["allow-events"].split(", ")

    dialog = bob.dialog(uri)
    response = await bob.request(bob.subscribe(dialog, event="weather", accept="text/x-weather", expires=None))
    assert (response.status, response["expires"]) == (200, "900")
    learn(dialog, response)
    assert (await bob.next_notify()).body == f"{uri} 0".encode()
    published = await alice.request(publish(b"21"))
    assert (published.status, published["expires"]) == (200, "900")
    assert (await bob.next_notify()).body == f"{uri} 21".encode()
    await alice.request(publish(b"23"))
    assert (await bob.next_notify()).body == f"{uri} 23".encode()

    winfo = carol.subscribe(carol.dialog(uri), event="weather.winfo", accept="application/watcherinfo+xml")
    assert (await carol.request(winfo)).status == 202
    notify = await carol.next_notify()
    assert (notify["event"], b'package="weather"' in notify.body) == ("weather.winfo", True)
    assert notify.body.count(b"<watcher ") == 1

    elsewhere = await make_phone(running_set)
    assert (await elsewhere.request(elsewhere.publish(uri, event="weather", body=b"21"))).status == 489
