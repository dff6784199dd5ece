"""`vedette status`: every process of the running set."""

import collections
import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.terminal import fail
from vedette_cli.supervisor.control import NotRunningError, StillAtWorkError, ask

STATUS_PATIENCE = 10.0


def status(data: DataOption = Path(".vedette"), as_json: JsonOption = False) -> None:
    """List every process of the running set; the exit code is 1 where one is not ready."""
    answer = ask_set(data, {"command": "status"})
    show(answer, as_json=as_json)
    if not all(process["ready"] for process in answer["processes"]):
        raise typer.Exit(1)


def ask_set(data: Path, request: dict[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
    """The answer of the running set, within `timeout` seconds (see `ask`); ends the command where there is none."""
    try:
        answer = ask(data, request, timeout=timeout)
    except NotRunningError as error:
        fail(str(error))
    except StillAtWorkError as error:
        fail(f"{error}; {_what_is_up(data)}")
    if "error" in answer:
        fail(str(answer["error"]), 2)
    return answer


def _what_is_up(data: Path) -> str:
    """Which processes are ready now, for a message."""
    try:
        processes = ask(data, {"command": "status"}, timeout=STATUS_PATIENCE)["processes"]
    except (NotRunningError, StillAtWorkError, KeyError):
        return "it does not say what is up either"
    up = collections.Counter(process["service"] for process in processes if process["ready"])
    return f"it is still at it. Ready now: {', '.join(f'{name} {count}' for name, count in up.items()) or 'nothing'}"


def show(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print the processes, as a table or as JSON."""
    if as_json:
        typer.echo(json.dumps(answer))
        return
    table = Table("service", "index", "pid", "address", "ready", "restarts", box=None, pad_edge=False)
    for process in answer["processes"]:
        table.add_row(
            process["service"],
            str(process["index"]),
            str(process["pid"] or "-"),
            process["address"] or "-",
            "yes" if process["ready"] else "no",
            str(process["restarts"]),
        )
    console = Console(width=max(80, Console().width))
    console.print(table)
    console.print(f"SIP {answer['sip']}   REST {answer['api']}")
    others = [f"{name.upper()} {answer[name]}" for name in ("tls", "ws", "wss") if name in answer]
    if others:
        console.print("   ".join(others))
    if "metrics" in answer:  # a set of release 0.1.0 has none
        console.print(f"metrics: {answer['metrics']} (targets for Prometheus)")
