"""`vedette presentity`: who has published something or is watched."""

from typing import Annotated

import typer

from vedette_cli.commands.listing import Column, facts_lines, left, print_rows
from vedette_cli.commands.rest_command import DomainFilter, EventFilter, LimitOption, Rest, UriArgument, rest_command
from vedette_cli.commands.terminal import say

presentity_app = typer.Typer(help="Who has published something or is watched.", no_args_is_help=True)

_COLUMNS = (
    Column("URI", "uri"),
    Column("EVENT", "event"),
    Column("PUBLICATIONS", "publications"),
    Column("SUBSCRIPTIONS", "subscriptions"),
    Column("VERSION", "version"),
)
_PUBLICATIONS = (
    Column("PUBLICATION", "id"),
    Column("ENTITY TAG", "etag"),
    Column("TYPE", "content_type"),
    Column("EXPIRES IN", left("expires")),
)
_WATCHERS = (
    Column("WATCHER", "watcher"),
    Column("STATUS", "status"),
    Column("EXPIRES IN", left("expires")),
    Column("SUBSCRIPTION", "subscription"),
)


@presentity_app.callback()
def _group() -> None:
    """Who has published something or is watched."""


@rest_command(presentity_app, "list")
def list_presentities(
    rest: Rest,
    prefix: Annotated[str | None, typer.Option(help="How the URI begins, like sip:ali.")] = None,
    search: Annotated[str | None, typer.Option(help="A part of the URI.")] = None,
    domain: DomainFilter = None,
    event: EventFilter = None,
    limit: LimitOption = 1000,
) -> None:
    """List the presentities that have a publication or a subscription."""
    query = {"prefix": prefix, "search": search, "domain": domain, "event": event}
    rest.rows("presentities", columns=_COLUMNS, query=query, limit=limit)


@rest_command(presentity_app, "show")
def show(
    rest: Rest, uri: UriArgument, event: Annotated[str, typer.Option(help="The event package.")] = "presence"
) -> None:
    """Show a presentity: its publications, who watches it, and the document that watchers get."""
    found = rest.client.get("presentities", uri, query={"event": event})
    if rest.as_json:
        rest.one(found)
        return
    publications, watchers = found.pop("publication_list"), found.pop("watchers")
    document = {name: found.pop(name) for name in ("document_type", "document")}
    rest.one(found)
    if publications:
        say("")
        print_rows(publications, _PUBLICATIONS)
    if watchers:
        say("")
        print_rows(watchers, _WATCHERS)
    say("")
    for line in facts_lines(document):
        if not say(line):
            return
