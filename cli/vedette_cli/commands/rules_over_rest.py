"""What `vedette rules` asks REST, where it is told to by `--api`."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vedette.identity import Presentity
from vedette_cli.commands.listing import plain
from vedette_cli.commands.rest_command import Rest
from vedette_cli.commands.terminal import say

MEDIA_TYPE = "application/auth-policy+xml"


def put_over_rest(rest: Rest, whose: Presentity, name: str, octets: bytes, *, dry_run: bool) -> str | None:
    """What became of the document; None for a dry run, whose findings are printed. Raises RestError."""
    query = _query(whose, dry_run=dry_run)
    found = rest.client.call("PUT", "rules", name, query=query, body=octets, headers={"Content-Type": MEDIA_TYPE})
    if dry_run:
        _print_differences(found)
        return None
    return str(found["verdict"])


def get_over_rest(rest: Rest, whose: Presentity, name: str) -> bytes:
    """The document as it was put. Raises RestError."""
    return rest.client.octets("rules", name, query=_query(whose))


def delete_over_rest(rest: Rest, whose: Presentity, name: str, *, dry_run: bool) -> None:
    """Take the document out of force, or print what that would do. Raises RestError."""
    found = rest.client.call("DELETE", "rules", name, query=_query(whose, dry_run=dry_run))
    if dry_run:
        _print_differences(found)


def list_over_rest(rest: Rest, whose: Presentity, event: str | None, *, as_json: bool) -> None:
    """Print the documents, of all events or of one. Raises RestError."""
    for item in rest.client.get("rules", query={"presentity": whose.uri})["items"]:
        if event not in {None, item["event"]}:
            continue
        changed = datetime.fromisoformat(item["changed"]).isoformat(timespec="seconds")
        count = item["rules"]
        if as_json:
            line = json.dumps({**item, "changed": changed})
        else:
            what = "unreadable" if count is None else f"{count} rule{'' if count == 1 else 's'}"
            words = (item["event"], item["name"], f"{item['octets']} octets", what, item["etag"], changed)
            line = "  ".join(plain(word) for word in words)
        if not say(line):
            break


def _query(whose: Presentity, *, dry_run: bool = False) -> dict[str, str | None]:
    return {"presentity": whose.uri, "event": whose.event, "dry_run": "true" if dry_run else None}


def _print_differences(found: Mapping[str, Any]) -> None:
    if not found["differences"]:
        say("no watcher would see anything else than now")
    for item in found["differences"]:
        whom = f"{item['change']}  {plain(item['watcher'])}  {plain(item['event'])}"
        if not say(f"{whom}: {item['before']} -> {item['after']}"):
            return
    if found["more"]:
        say(f"and {found['more']} more")
