"""`vedette tail`: what happens, as it happens."""

import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from vedette_cli.commands.exit_codes import ExitCode
from vedette_cli.commands.listing import plain
from vedette_cli.commands.rest_command import DomainFilter, EventFilter, Rest, asking_rest
from vedette_cli.commands.terminal import fail, say
from vedette_cli.live.event_stream import ServerEvent, read_events
from vedette_cli.rest.client import NoAnswerError, RefusedError


class Kind(StrEnum):
    """What happens."""

    PUBLICATION = "publication"
    SUBSCRIPTION = "subscription"
    NOTIFY = "notify"


SILENCE = 30.0
"""Seconds without even a comment after which the connection is taken for dead."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
_SHOWN = ("what", "watcher", "outcome", "code", "reason", "expires_in", "cseq", "id")


@asking_rest
def tail(
    rest: Rest,
    presentity: Annotated[str | None, typer.Option(metavar="URI", help="Only what concerns this one.")] = None,
    event: EventFilter = None,
    kind: Annotated[list[Kind] | None, typer.Option(help="Only this; may be repeated.")] = None,
    domain: DomainFilter = None,
    limit: Annotated[int, typer.Option(min=0, help="End after so many events; 0: go on until Ctrl-C.")] = 0,
) -> None:
    """Print publications, subscriptions and NOTIFYs of the whole system as they happen, until Ctrl-C.

    After a break of the connection it goes on where it was. Where something may be missing, that is said on stderr.
    """
    rest.client.patience = SILENCE
    query = {"presentity": presentity, "event": event, "kind": kind, "domain": domain}
    count = 0
    try:
        for found in _events(rest, query):
            if not say(_in_json(found) if rest.as_json else _in_words(found)):
                return
            count += 1
            if limit and count >= limit:
                return
    except KeyboardInterrupt:
        return


def _events(rest: Rest, query: Mapping[str, Any]) -> Iterator[ServerEvent]:
    """The events, over as many connections as it takes. Raises RestError where the first one does not come about."""
    last_id, pause, reached = "", FIRST_PAUSE, False
    while True:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with rest.client.stream("events", query=query, headers=headers) as stream:
                reached = True
                for found in read_events(stream, last_id):
                    last_id, pause = found.id, FIRST_PAUSE
                    if found.kind in {"gap", "dropped"}:
                        sys.stderr.write(f"{found.kind}: {_reason(found)}\n")
                    else:
                        yield found
            reason = "the server has ended the stream"
        except RefusedError as error:
            if not reached or error.status < 429:
                raise
            reason = str(error)
        except NoAnswerError as error:
            if not reached:
                raise
            reason = str(error)
        except TimeoutError:
            reason = f"nothing came for {SILENCE:g} s"
        except (OSError, http.client.HTTPException) as error:
            reason = f"the connection broke ({str(error) or type(error).__name__})"
        finally:
            rest.client.close()
        sys.stderr.write(f"{reason}; going on in {pause:g} s\n")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _reason(found: ServerEvent) -> str:
    try:
        facts = json.loads(found.data)
    except ValueError:
        return plain(found.data)
    return plain(facts.get("detail") or facts.get("reason")) if isinstance(facts, dict) else plain(facts)


def _in_json(found: ServerEvent) -> str:
    """The object on one line, with the id that the stream goes on from."""
    return json.dumps({**_facts(found), "cursor": found.id})


def _in_words(found: ServerEvent) -> str:
    facts = _facts(found)
    words = [f"{name}={plain(facts[name])}" for name in _SHOWN[1:] if facts.get(name) not in {None, ""}]
    what = plain(facts.get("what") or "")
    return " ".join([_time(facts.get("time")), plain(facts.get("kind", found.kind)), what, *_whose(facts), *words])


def _whose(facts: Mapping[str, Any]) -> list[str]:
    return [plain(facts.get("presentity")), plain(facts.get("event"))]


def _time(value: object) -> str:
    try:
        return f"{datetime.fromisoformat(str(value)).astimezone():%H:%M:%S.%f}"[:-3]
    except ValueError:
        return "-"


def _facts(found: ServerEvent) -> dict[str, Any]:
    try:
        facts = json.loads(found.data)
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        fail(f"this is no event of Vedette: {plain(found.data[:200])}", ExitCode.NO_ANSWER)
    return facts
