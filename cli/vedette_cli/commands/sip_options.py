"""Options of the commands that speak SIP, and how their failures are told."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from vedette.sip.digest import Credentials
from vedette.sip.errors import SipError
from vedette.sip.uri import parse_uri
from vedette.transport.tls import CertificateError, TlsContexts, TlsFiles
from vedette_cli.commands.terminal import fail
from vedette_cli.user_agent.agent import NoAnswerError, Server, UserAgent
from vedette_cli.user_agent.publisher import RefusedError

PATIENCE = 10.0
MAX_EXPIRES = 2**32 - 1
"""Expires holds no more (RFC 3261 section 20.19)."""

Transport = Literal["udp", "tcp", "tls"]
ServerOption = Annotated[str, typer.Option("--server", metavar="HOST:PORT", help="Where the SIP edge is.")]
TransportOption = Annotated[Transport, typer.Option("--transport", help="How to reach it.")]
CaOption = Annotated[
    Path | None, typer.Option("--ca", help="With tls: authorities (PEM) of the server's certificate, or itself.")
]
UserOption = Annotated[str | None, typer.Option("--user", help="User name, where the server asks for one.")]
PasswordOption = Annotated[
    str | None, typer.Option("--password", help="Password; @FILE reads it from a file.", envvar="VEDETTE_PASSWORD")
]


def check_uri(uri: str, name: str) -> str:
    """The URI; ends the command where it is none with a user."""
    try:
        uri.encode()
        parsed = parse_uri(uri)
    except UnicodeEncodeError:
        fail(f"{name}: {uri!r} is not UTF-8", 2)
    except SipError as error:
        fail(f"{name}: {uri!r} is not a SIP URI ({error.reason}); write it like sip:alice@example.com", 2)
    if parsed.user is None:
        fail(f"{name}: {uri!r} names no user; write it like sip:alice@example.com", 2)
    return uri


def open_agent(
    server: str, transport: Transport, user: str | None, password: str | None, ca: Path | None = None
) -> UserAgent:
    """The user agent of the options."""
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        host, port = server, "5061" if transport == "tls" else "5060"
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        fail(f"--server: {server!r} is not HOST:PORT; write an IPv6 address like [::1]:5060", 2)
    if not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536 or not host.strip("[]"):
        fail(f"--server: {server!r} is not HOST:PORT", 2)
    if password is not None and password.startswith("@"):
        try:
            password = Path(password[1:]).read_text(encoding="utf-8").strip()
        except OSError as error:
            fail(f"--password: cannot read {password[1:]}: {error.strerror}", 2)
    credentials = Credentials(user, password or "") if user is not None else None
    tls: TlsContexts | None = None
    if transport == "tls":
        try:
            tls = TlsContexts(TlsFiles(None, ca=ca))
        except CertificateError as error:
            fail(f"--ca: {error}", 2)
    elif ca is not None:
        fail("--ca is for --transport tls", 2)
    place = Server(host.strip("[]"), int(port), transport)
    return UserAgent(place, credentials=credentials, patience=PATIENCE, tls=tls)


@contextlib.contextmanager
def told(presentity: str) -> Iterator[None]:
    """Around an exchange with a server: what fails is said in one line and ends the command."""
    try:
        yield
    except RefusedError as error:
        hint = " (see --user and --password)" if error.response.status in {401, 407} else ""
        fail(f"{presentity}: the server answered {error}{hint}")
    except NoAnswerError as error:
        fail(f"{presentity}: {error}")
    except SipError as error:
        fail(f"{presentity}: the server's answer cannot be read: {error.reason}")


def stop_at_signals(stop: asyncio.Event) -> None:
    """Have Ctrl-C and SIGTERM set the event; a second one ends the command at once."""
    loop = asyncio.get_running_loop()

    def told_to_stop(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop, number)
