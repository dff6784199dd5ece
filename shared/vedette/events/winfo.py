"""The template package `winfo` (RFC 3857): who watches in another package, `presence.winfo` for `presence`."""

from collections.abc import Sequence

from vedette.documents import watcherinfo
from vedette.documents.versioned import VersionedDocument
from vedette.events.package import EventPackage, Preferences, Publication, WatcherInfoPackage

WATCHERINFO_TYPE = "application/watcherinfo+xml"
SUFFIX = ".winfo"
"""The SQL functions know it, too: what happens to a dialog of an event is told to `event || '.winfo'`."""


def winfo_of(base: EventPackage) -> WatcherInfoPackage:
    """The package that shows the watchers of `base`."""

    def compose_watchers(entity: str, watchers: Sequence[watcherinfo.Watcher], *, full: bool) -> VersionedDocument:
        return watcherinfo.compose(entity, base.name, watchers, full=full)

    def compose(
        entity: str, _publications: Sequence[Publication], _media_type: str, _preferences: Preferences
    ) -> VersionedDocument:
        return compose_watchers(entity, (), full=True)

    return WatcherInfoPackage(
        name=base.name + SUFFIX,
        publish_types=(),
        notify_types=(WATCHERINFO_TYPE,),
        default_expires=3600,
        check=_check,
        compose=compose,
        base=base.name,
        compose_watchers=compose_watchers,
    )


def _check(_media_type: str, _body: bytes) -> str:
    return "watcher information cannot be published"
