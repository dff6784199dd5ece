"""`vedette restart`: put new processes in the place of those that run."""

from pathlib import Path
from typing import Annotated

import typer

from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.status import ask_set, show

PATIENCE = 900.0
"""Seconds; each process of a large set is waited for."""


def restart(
    services: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVICE...]", help="Like core notifier edge; all where none.")
    ] = None,
    data: DataOption = Path(".vedette"),
    as_json: JsonOption = False,
) -> None:
    """Replace the processes of a running set one after the other, as after an upgrade; no request fails.

    Each new process works before the old one is told to end. Postgres and Redis are left alone. The admin REST is
    away for a moment. Connections over TCP, TLS and WebSocket close with their edge, and clients connect again.
    """
    show(ask_set(data, {"command": "restart", "services": services or []}, timeout=PATIENCE), as_json=as_json)
