"""What live readers are told of the requests that were applied."""

from collections.abc import Iterable

from presence_core.domain.publish import PublishCommand, PublishVerdict
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict
from vedette.identity import to_tag
from vedette.live import LiveEvent, What
from vedette.sip.uri import join_aor

_OF_PUBLISH: dict[str, What] = {
    "created": "created",
    "refreshed": "refreshed",
    "modified": "modified",
    "removed": "removed",
    # What remains of it is a state that nobody can change any more.
    "lingers": "removed",
}
_OF_SUBSCRIBE: dict[str, What] = {
    "created": "created",
    "fetched": "fetched",
    "refreshed": "refreshed",
    "ended": "removed",
}


def of_publish(pairs: Iterable[tuple[PublishCommand, PublishVerdict]]) -> list[LiveEvent]:
    """What became of publications; nothing of a request that changed none."""
    return [
        LiveEvent(
            kind="publication",
            what=what,
            time=verdict.at,
            presentity=command.presentity.uri,
            event=command.presentity.event,
            id=to_tag("", command.presentity.hash, command.publication_id),
            expires=verdict.granted,
            version=verdict.version,
        )
        for command, verdict in pairs
        if (what := _OF_PUBLISH.get(verdict.verdict)) is not None
        # One that came after the end of its call never was.
        and (what != "created" or verdict.version is not None)
    ]


def of_subscribe(pairs: Iterable[tuple[SubscribeCommand, SubscribeVerdict]], now: float) -> list[LiveEvent]:
    """What became of subscriptions. `now`: seconds since the epoch."""
    return [
        LiveEvent(
            kind="subscription",
            what=what,
            time=now,
            presentity=verdict.record.presentity_uri,
            event=verdict.record.event,
            id=command.to_tag,
            watcher=join_aor(command.watcher_username, command.watcher_domain),
            expires=verdict.granted,
            reason=verdict.record.reason,
        )
        for command, verdict in pairs
        if (what := _OF_SUBSCRIBE.get(verdict.verdict)) is not None and verdict.record is not None
    ]
