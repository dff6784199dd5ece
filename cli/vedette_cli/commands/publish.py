"""`vedette publish`: publish a presence state as a phone does."""

import asyncio
import json
import secrets
from typing import Annotated, Literal

import typer

from vedette_cli.commands.options import JsonOption
from vedette_cli.commands.sip_options import (
    MAX_EXPIRES,
    CaOption,
    PasswordOption,
    ServerOption,
    TransportOption,
    UserOption,
    check_uri,
    open_agent,
    stop_at_signals,
    told,
)
from vedette_cli.commands.terminal import fail, say
from vedette_cli.user_agent.agent import UserAgent
from vedette_cli.user_agent.presence_document import ACTIVITIES, write
from vedette_cli.user_agent.publisher import Publisher


def publish(
    presentity: Annotated[str, typer.Argument(help="Whose state it is, like sip:alice@example.com.")],
    status: Annotated[Literal["open", "closed"], typer.Option(help="Reachable or not.")] = "open",
    note: Annotated[str | None, typer.Option(help="A few words.")] = None,
    activity: Annotated[str | None, typer.Option(help="What the person does, like meeting or away.")] = None,
    expires: Annotated[
        int, typer.Option(min=1, max=MAX_EXPIRES, help="Seconds until the state is forgotten.")
    ] = 3600,
    keep: Annotated[bool, typer.Option("--keep", help="Refresh until Ctrl-C, then remove the state.")] = False,
    server: ServerOption = "127.0.0.1:5060",
    transport: TransportOption = "udp",
    ca: CaOption = None,
    user: UserOption = None,
    password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a presence state as a phone does."""
    check_uri(presentity, "presentity")
    if activity is not None and activity not in ACTIVITIES:
        fail(f"--activity: {activity!r} is none of {', '.join(ACTIVITIES)}", 2)
    try:
        document = write(presentity, status=status, note=note, activity=activity, tuple_id=f"t{secrets.token_hex(4)}")
    except ValueError:
        fail(f"--note: {note!r} holds what XML cannot carry", 2)
    agent = open_agent(server, transport, user, password, ca)
    with told(presentity):
        asyncio.run(_publish(agent, presentity, document, expires, keep=keep, as_json=as_json))


async def _publish(
    agent: UserAgent, presentity: str, document: bytes, expires: int, *, keep: bool, as_json: bool
) -> None:
    stop = asyncio.Event()
    if keep:
        stop_at_signals(stop)
    async with agent:
        publisher = Publisher(agent, presentity)
        await publisher.publish(document, expires)
        if not _say("published", presentity, publisher, as_json=as_json):
            stop.set()
        while keep and not stop.is_set():
            try:
                async with asyncio.timeout(max(1.0, publisher.expires * 0.8)):
                    await stop.wait()
            except TimeoutError:
                # a refresh with the document, so that a server that has forgotten it learns it anew
                await publisher.publish(document, expires)
                if not _say("refreshed", presentity, publisher, as_json=as_json):
                    stop.set()
        if keep:
            await publisher.remove()
            _say("removed", presentity, publisher, as_json=as_json)


def _say(what: str, presentity: str, publisher: Publisher, *, as_json: bool) -> bool:
    if as_json:
        facts = {"event": what, "presentity": presentity, "etag": publisher.etag, "expires": publisher.expires}
        return say(json.dumps(facts))
    if what == "removed":
        return say(f"removed {presentity}")
    return say(f"{what} {presentity} for {publisher.expires} seconds (entity tag {publisher.etag})")
