"""`vedette rules put|get|delete|list`: the rules documents that are in force."""

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from vedette.events.registry import PACKAGES
from vedette.identity import Presentity, presentity
from vedette.rules.document import MAX_OCTETS, Unreadable, read_rules
from vedette.rules.packages import remarks_on
from vedette.rules.ruling import said
from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record, split_aor
from vedette.store.authorization import (
    DEFAULT_NAME,
    Document,
    Written,
    delete_rules,
    documents,
    put_rules,
    sharing_rules,
)
from vedette.store.explaining import Difference, differences
from vedette_cli.commands.audited import write_down
from vedette_cli.commands.in_database import Connection, DatabaseOption, find_database, in_database
from vedette_cli.commands.in_force import what_is_in_force
from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.rest_command import InsteadOption, TokenFileOption, asking
from vedette_cli.commands.rules import rules_app
from vedette_cli.commands.rules_over_rest import delete_over_rest, get_over_rest, list_over_rest, put_over_rest
from vedette_cli.commands.terminal import fail, say

MAX_NAME = 100

stored_rules_app = rules_app
"""With `check`, which asks no database, and the commands below."""

UriArgument = Annotated[str, typer.Argument(metavar="URI", help="Whose rules, like sip:alice@example.com.")]
EventOption = Annotated[str, typer.Option("--event", help="The event package whose watchers the rules are about.")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the document; all of a presentity count together.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; say for which watchers it would make a difference.")
]


@rules_app.command()
def put(
    uri: UriArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The document; - for stdin.")],
    event: EventOption = "presence",
    name: NameOption = DEFAULT_NAME,
    dry_run: DryRunOption = False,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    api: InsteadOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Put a document into force, once it was read without a fault. All who watch are judged by it at once."""
    whose = find_presentity(uri, event)
    octets = _octets(file)
    rules = read_rules(octets)
    if isinstance(rules, Unreadable):
        fail(f"{file}: {rules}; nothing was changed", 2)
    for remark in remarks_on(rules, event):
        typer.echo(f"{file}: {remark}", err=True)
    if api is not None and database_url is None:
        with asking(data, api, token_file) as rest:
            verdict = put_over_rest(rest, whose, _name(name), octets, dry_run=dry_run)
        if verdict is not None:
            typer.echo(f"{verdict} the rules of {whose.uri} for {event} ({len(rules.rules)} in {name})")
        return
    if dry_run:
        _say_differences(data, database_url, whose, octets, _name(name))
        return

    async def work(connection: Connection) -> Written | Unreadable:
        written = await put_rules(connection, whose, octets, name=_name(name))
        if isinstance(written, Written):
            detail = {"event": event, "name": name, "octets": len(octets), "rules": len(rules.rules)}
            await _write_down(connection, "put_rules_document", whose, detail)
        return written

    written = in_database(find_database(data, database_url), work)
    if isinstance(written, Unreadable):
        fail(f"{file}: {written}; nothing was changed", 2)
    typer.echo(f"{written.verdict} the rules of {whose.uri} for {event} ({len(rules.rules)} in {name})")


@rules_app.command()
def get(
    uri: UriArgument,
    event: EventOption = "presence",
    name: NameOption = DEFAULT_NAME,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    api: InsteadOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Print a document as it was put."""
    whose = find_presentity(uri, event)
    if api is not None and database_url is None:
        with asking(data, api, token_file) as rest:
            found = get_over_rest(rest, whose, _name(name))
        sys.stdout.buffer.write(found)
        sys.stdout.flush()
        return
    for document in _documents(data, database_url, whose, event):
        if document.name == name:
            sys.stdout.buffer.write(document.octets)
            sys.stdout.flush()
            return
    fail(f"{whose.uri} has no rules {name!r} for {event}")


@rules_app.command()
def delete(
    uri: UriArgument,
    event: EventOption = "presence",
    name: NameOption = DEFAULT_NAME,
    dry_run: DryRunOption = False,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    api: InsteadOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Take a document out of force. Without any, default_rule and dialog_rule decide."""
    whose = find_presentity(uri, event)
    if api is not None and database_url is None:
        with asking(data, api, token_file) as rest:
            delete_over_rest(rest, whose, _name(name), dry_run=dry_run)
        if not dry_run:
            typer.echo(f"removed the rules of {whose.uri} for {event}")
        return
    if dry_run:
        _say_differences(data, database_url, whose, None, _name(name))
        return

    async def work(connection: Connection) -> Written:
        written = await delete_rules(connection, whose, name=_name(name))
        if written.verdict == "removed":
            await _write_down(connection, "delete_rules_document", whose, {"event": event, "name": name})
        return written

    if in_database(find_database(data, database_url), work).verdict == "absent":
        fail(f"{whose.uri} has no rules {name!r} for {event}")
    typer.echo(f"removed the rules of {whose.uri} for {event}")


@rules_app.command("list")
def list_rules(
    uri: UriArgument,
    event: Annotated[str | None, typer.Option("--event", help="Only those for this event package.")] = None,
    data: DataOption = Path(".vedette"),
    database_url: DatabaseOption = None,
    api: InsteadOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the documents of a presentity: event, name, octets, rules, entity tag, and since when."""
    whose = find_presentity(uri, event or "presence")
    if api is not None and database_url is None:
        with asking(data, api, token_file) as rest:
            list_over_rest(rest, whose, event, as_json=as_json)
        return
    for item in _documents(data, database_url, whose, event):
        rules = read_rules(item.octets)
        changed = datetime.fromtimestamp(item.changed, UTC).isoformat(timespec="seconds")
        count = None if isinstance(rules, Unreadable) else len(rules.rules)
        if as_json:
            facts = {"event": item.event, "name": item.name, "uri": item.doc_uri, "octets": len(item.octets)}
            line = json.dumps(facts | {"rules": count, "etag": item.etag, "changed": changed})
        else:
            what = f"unreadable ({rules})" if count is None else f"{count} rule{'' if count == 1 else 's'}"
            line = f"{item.event}  {item.name}  {len(item.octets)} octets  {what}  {item.etag}  {changed}"
        if not say(line):
            break


def find_presentity(uri: str, event: str) -> Presentity:
    """The presentity and event; ends the command where there are no such ones."""
    if event not in PACKAGES:
        fail(f"--event: {event!r} is none of {', '.join(PACKAGES)}", 2)
    return presentity(find_address(uri, "URI"), event)


def find_address(uri: str, what: str) -> str:
    """The address-of-record; ends the command where it is none with a user."""
    try:
        address = address_of_record(uri if ":" in uri.partition("@")[0] else f"sip:{uri}")
    except SipError as error:
        fail(f"{what}: {uri!r} is no address ({error.reason}); write it like sip:alice@example.com", 2)
    if "@" not in address:
        fail(f"{what}: {uri!r} names no user; write it like sip:alice@example.com", 2)
    return address


async def _write_down(
    connection: Connection, operation: str, whose: Presentity, detail: Mapping[str, object]
) -> None:
    await write_down(connection, operation, whose.uri, 200, domain=split_aor(whose.uri)[1], detail=detail)


def _name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or "/" in name:
        fail(f"--name: from 1 to {MAX_NAME} characters that can be printed, and no slash", 2)
    return name


def _octets(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(MAX_OCTETS + 1)
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_OCTETS + 1)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}", 2)


def _documents(data: Path, database_url: str | None, whose: Presentity, event: str | None) -> list[Document]:
    async def work(connection: Connection) -> list[Document]:
        return await documents(connection, whose.hash, whose.uri, event)

    return in_database(find_database(data, database_url), work)


def _say_differences(
    data: Path, database_url: str | None, whose: Presentity, octets: bytes | None, name: str
) -> None:
    defaults, _ = what_is_in_force(data)

    async def work(connection: Connection) -> list[tuple[str, Difference]]:
        found: list[tuple[str, Difference]] = []
        for one in sharing_rules(whose):
            rows = await differences(connection, one, octets, defaults, time.time(), name=name)
            found += [(one.event, row) for row in rows]
        return found

    found = in_database(find_database(data, database_url), work)
    if not found:
        typer.echo("no watcher would see anything else than now")
    for event, (watcher, before, after) in found:
        difference = Difference(watcher, before, after)
        word = {True: "gains", False: "loses", None: "differs"}[difference.gains]
        if not say(f"{word}  sip:{watcher[0]}@{watcher[1]}  {event}: {said(before)} -> {said(after)}"):
            break
