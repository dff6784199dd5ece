"""`vedette trace`: the ladder of a Call-ID across the services."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from vedette_cli.commands.exit_codes import ExitCode
from vedette_cli.commands.rest_command import Rest, asking_rest
from vedette_cli.commands.terminal import fail, say

LANES = ("client", "edge", "core", "notifier")
WIDTH = 14
"""Columns from one lane to the next."""


@asking_rest
def trace(
    rest: Rest, call_id: Annotated[str, typer.Argument(metavar="CALL-ID", help="Of a PUBLISH, or of a dialog.")]
) -> None:
    """Show what happened of late to a Call-ID, as a ladder across the services.

    Each process remembers what fits into its trace_buffer. Times are those of the hosts.
    """
    found = rest.client.get("trace", call_id)
    if rest.as_json:
        rest.one(found)
        return
    if not found["events"]:
        fail(f"no process remembers the Call-ID {call_id!r}", ExitCode.REFUSED)
    for line in ladder(found):
        if not say(line):
            return


def ladder(found: Mapping[str, Any]) -> list[str]:
    """The lines of a trace."""
    lines = ["".join(["TIME".ljust(17), *(lane.ljust(WIDTH) for lane in LANES)])]
    lines += [_line(event) for event in found["events"]]
    lines += [_subscription(dialog) for dialog in found["subscriptions"]]
    if found["silent"]:
        lines.append(f"no answer from {', '.join(found['silent'])}: what they know is missing")
    return lines


def _line(event: Mapping[str, Any]) -> str:
    at = datetime.fromisoformat(event["at"]).strftime("%H:%M:%S.%f")
    rung = _rung(*(LANES.index(event[end]) if event[end] in LANES else 0 for end in ("sender", "receiver")))
    return f"{at}  {rung}  {event['what']}: {event['detail']}  [{event['service']} {event['instance'][:6]}]"


def _rung(sender: int, receiver: int) -> str:
    """The lanes, with an arrow from one to the other or a dot where it happened."""
    places: Sequence[str] = ["|"] * len(LANES)
    drawn = list("".join(place.ljust(WIDTH) for place in places)[: WIDTH * (len(LANES) - 1) + 1])
    left, right = sorted((sender * WIDTH, receiver * WIDTH))
    if left == right:
        drawn[left] = "*"
    else:
        drawn[left + 1 : right] = "-" * (right - left - 1)
        drawn[right - 1 if receiver > sender else left + 1] = ">" if receiver > sender else "<"
    return "".join(drawn)


def _subscription(dialog: Mapping[str, Any]) -> str:
    outstanding = ", which has no answer yet" if dialog["notify_outstanding"] else ""
    return (
        f"{dialog['watcher']} watches {dialog['presentity']} ({dialog['event']}), {dialog['status']} until "
        f"{dialog['expires']}; last NOTIFY {dialog['notify_cseq']}{outstanding}"
    )
