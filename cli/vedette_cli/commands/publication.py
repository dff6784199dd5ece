"""`vedette publication`: what is published, and publishing over HTTP."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vedette_cli.commands.exit_codes import ExitCode
from vedette_cli.commands.listing import Column, left
from vedette_cli.commands.rest_command import DomainFilter, EventFilter, LimitOption, Rest, UriArgument, rest_command
from vedette_cli.commands.terminal import fail

publication_app = typer.Typer(help="What is published, and publishing over HTTP.", no_args_is_help=True)

TYPES = {
    "presence": "application/pidf+xml",
    "dialog": "application/dialog-info+xml",
    "dialog;sla": "application/dialog-info+xml",
    "message-summary": "application/simple-message-summary",
}
MAX_BODY = 16 * 1024 * 1024

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `vedette publication list` shows it.")]
ExpiresOption = Annotated[int | None, typer.Option(min=1, max=2**31 - 1, help="Seconds; the policy may grant less.")]
IfMatchOption = Annotated[
    str | None, typer.Option("--if-match", metavar="ETAG", help="Only where this is its entity tag still.")
]
KeyOption = Annotated[
    str | None, typer.Option("--idempotency-key", help="The same call with the same key is done once.")
]
BodyOption = Annotated[
    Path | None, typer.Option("--body", metavar="FILE", help="The document itself; - reads it from stdin.")
]
TypeOption = Annotated[str | None, typer.Option("--content-type", help="Of --body; without it, that of the event.")]
StatusOption = Annotated[Literal["open", "closed"], typer.Option(help="Without --body: reachable or not.")]
NoteOption = Annotated[str | None, typer.Option(help="Without --body: a few words.")]
ActivityOption = Annotated[
    list[str] | None, typer.Option("--activity", help="Without --body: like meeting or away; may be repeated.")
]

_COLUMNS = (
    Column("PRESENTITY", "presentity"),
    Column("EVENT", "event"),
    Column("TYPE", "content_type"),
    Column("EXPIRES IN", left("expires")),
    Column("ENTITY TAG", "etag"),
    Column("ID", "id"),
)


@publication_app.callback()
def _group() -> None:
    """What is published, and publishing over HTTP."""


@rest_command(publication_app, "list")
def list_publications(
    rest: Rest,
    presentity: Annotated[str | None, typer.Option(metavar="URI", help="Only those of this one.")] = None,
    domain: DomainFilter = None,
    event: EventFilter = None,
    limit: LimitOption = 1000,
) -> None:
    """List the publications that are alive."""
    query = {"presentity": presentity, "domain": domain, "event": event}
    rest.rows("publications", columns=_COLUMNS, query=query, limit=limit)


@rest_command(publication_app, "show")
def show(rest: Rest, id_: IdArgument) -> None:
    """Show a publication and its body."""
    rest.one(rest.client.get("publications", id_))


@rest_command(publication_app, "create")
def create(
    rest: Rest,
    uri: UriArgument,
    event: Annotated[str, typer.Option(help="The event package; others than presence need --body.")] = "presence",
    expires: ExpiresOption = None,
    body: BodyOption = None,
    content_type: TypeOption = None,
    status: StatusOption = "open",
    note: NoteOption = None,
    activity: ActivityOption = None,
    idempotency_key: KeyOption = None,
) -> None:
    """Publish something new, as the document itself or in plain words; it goes the way of a PUBLISH."""
    headers = _headers(idempotency_key, None)
    if body is None:
        words = {"presentity": uri, "event": event, "expires": expires, **_words(event, status, note, activity)}
        found = rest.client.call("POST", "publications", body=words, headers=headers)
    else:
        query = {"presentity": uri, "event": event, "expires": expires}
        headers["Content-Type"] = _type(content_type, event)
        found = rest.client.call("POST", "publications", query=query, body=_read(body), headers=headers)
    rest.done(found, f"published {found['id']} for {found['expires_in']} seconds (entity tag {found['etag']})")


@rest_command(publication_app, "replace")
def replace(
    rest: Rest,
    id_: IdArgument,
    expires: ExpiresOption = None,
    body: BodyOption = None,
    content_type: TypeOption = None,
    status: StatusOption = "open",
    note: NoteOption = None,
    activity: ActivityOption = None,
    if_match: IfMatchOption = None,
    idempotency_key: KeyOption = None,
) -> None:
    """Give a publication another body, as the document itself or in plain words."""
    headers = _headers(idempotency_key, if_match)
    if body is None:
        words = {"expires": expires, **_words("presence", status, note, activity)}
        found = rest.client.call("PUT", "publications", id_, body=words, headers=headers)
    else:
        if content_type is None:
            content_type = str(rest.client.get("publications", id_)["content_type"])
        headers["Content-Type"] = _type(content_type, "")
        found = rest.client.call(
            "PUT", "publications", id_, query={"expires": expires}, body=_read(body), headers=headers
        )
    rest.done(found, f"replaced {found['id']} for {found['expires_in']} seconds (entity tag {found['etag']})")


@rest_command(publication_app, "refresh")
def refresh(
    rest: Rest,
    id_: IdArgument,
    expires: ExpiresOption = None,
    if_match: IfMatchOption = None,
    idempotency_key: KeyOption = None,
) -> None:
    """Have a publication live on."""
    headers = _headers(idempotency_key, if_match)
    found = rest.client.call("POST", "publications", id_, "refresh", body={"expires": expires}, headers=headers)
    rest.done(found, f"refreshed {found['id']} for {found['expires_in']} seconds (entity tag {found['etag']})")


@rest_command(publication_app, "remove")
def remove(rest: Rest, id_: IdArgument, if_match: IfMatchOption = None, idempotency_key: KeyOption = None) -> None:
    """Remove a publication."""
    rest.client.call("DELETE", "publications", id_, headers=_headers(idempotency_key, if_match))
    rest.done(None, f"removed {id_}")


def _words(event: str, status: str, note: str | None, activity: list[str] | None) -> dict[str, Any]:
    if event != "presence":
        fail(f"--event {event} needs --body: only presence is published in plain words here", ExitCode.USAGE)
    state: dict[str, Any] = {"status": status, "activities": activity or []}
    return {"presence": {**state, "note": note} if note is not None else state}


def _headers(key: str | None, if_match: str | None) -> dict[str, str]:
    named = {"Idempotency-Key": key, "If-Match": None if if_match is None else f'"{if_match.strip(chr(34))}"'}
    found = {name: value for name, value in named.items() if value is not None}
    for name, value in found.items():
        if not value.isascii() or not value.isprintable():
            fail(f"--{name.lower()}: {value!r} has characters that no header has", ExitCode.USAGE)
    return found


def _type(content_type: str | None, event: str) -> str:
    found = content_type or TYPES.get(event)
    if found is None:
        fail(f"--event {event}: name the type of --body with --content-type", ExitCode.USAGE)
    if not found.isascii() or not found.isprintable():
        fail(f"--content-type: {found!r} is no media type", ExitCode.USAGE)
    return found


def _read(body: Path) -> bytes:
    try:
        if str(body) == "-":
            return sys.stdin.buffer.read(MAX_BODY)
        with body.open("rb") as opened:
            return opened.read(MAX_BODY)
    except OSError as error:
        fail(f"--body: cannot read {body}: {error.strerror}", ExitCode.USAGE)
