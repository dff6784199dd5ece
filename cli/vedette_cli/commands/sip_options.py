"""Options of the commands that speak SIP, and how their failures are told."""

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from vedette.sip.digest import Credentials
from vedette.sip.errors import SipError
from vedette.sip.uri import parse_uri
from vedette_cli.user_agent.agent import Server, UserAgent

PATIENCE = 10.0

Transport = Literal["udp", "tcp"]
ServerOption = Annotated[str, typer.Option("--server", metavar="HOST:PORT", help="Where the SIP edge is.")]
TransportOption = Annotated[Transport, typer.Option("--transport", help="How to reach it.")]
UserOption = Annotated[str | None, typer.Option("--user", help="User name, where the server asks for one.")]
PasswordOption = Annotated[
    str | None, typer.Option("--password", help="Password; @FILE reads it from a file.", envvar="VEDETTE_PASSWORD")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object for each line.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """Say in one line what was wrong, and end with that code."""
    sys.stderr.write(message + "\n")
    raise typer.Exit(code)


def check_uri(uri: str, name: str) -> str:
    """The URI; ends the command where it is none with a user."""
    try:
        parsed = parse_uri(uri)
    except SipError as error:
        fail(f"{name}: {uri!r} is not a SIP URI ({error.reason}); write it like sip:alice@example.com", 2)
    if parsed.user is None:
        fail(f"{name}: {uri!r} names no user; write it like sip:alice@example.com", 2)
    return uri


def open_agent(server: str, transport: Transport, user: str | None, password: str | None) -> UserAgent:
    """The user agent of the options."""
    host, colon, port = server.rpartition(":")
    if not colon:
        host, port = server, "5060"
    if not port.isdigit() or not 0 < int(port) < 65536 or not host:
        fail(f"--server: {server!r} is not HOST:PORT", 2)
    if password is not None and password.startswith("@"):
        try:
            password = Path(password[1:]).read_text(encoding="utf-8").strip()
        except OSError as error:
            fail(f"--password: cannot read {password[1:]}: {error.strerror}", 2)
    credentials = Credentials(user, password or "") if user is not None else None
    return UserAgent(Server(host.strip("[]"), int(port), transport), credentials=credentials, patience=PATIENCE)
