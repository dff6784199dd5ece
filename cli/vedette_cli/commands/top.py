"""`vedette top`: rates, latencies, queues and processes of the whole system, on one screen."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vedette_cli.commands.exit_codes import exit_code_of
from vedette_cli.commands.listing import console, plain, table_of
from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.replica import COLUMNS
from vedette_cli.commands.rest_command import ApiOption, TokenFileOption, connect
from vedette_cli.commands.terminal import fail, say
from vedette_cli.live.measures import LATENCIES, Between, Snapshot, between, take
from vedette_cli.rest.client import RestClient, RestError
from vedette_cli.supervisor.control import NotRunningError, StillAtWorkError, ask

_ALIVE = {
    "publications": "vedette_publications",
    "subscriptions": "vedette_subscriptions",
    "connections": "vedette_sip_connections",
    "transactions": "vedette_sip_transactions",
}
_SHOWN = ("SERVICE", "INSTANCE", "HOST", "READY", "UP", "CPU", "LAG", "MEMORY")


def top(
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, over one interval, and end.")] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="/metrics of a process, where no set on --data names them; repeat it."
        ),
    ] = None,
    data: DataOption = Path(".vedette"),
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show rates, latencies, queues and processes of the whole system until Ctrl-C.

    Rates and latencies come from the metrics of the processes that can be reached from here; without any there are
    queues and processes only.
    """
    with connect(data, api, token_file) as client:
        watched = _Watched(client, data, metrics, asked_api=api is not None)
        try:
            if once:
                watched.look()
                time.sleep(interval)
                seen = watched.look()
                say(json.dumps(seen)) if as_json else _print(seen)
            else:
                _go_on(watched, interval, as_json=as_json)
        except RestError as error:
            fail(str(error), exit_code_of(error))
        except KeyboardInterrupt:
            return


@dataclass(slots=True)
class _Watched:
    client: RestClient
    data: Path
    given: list[str] | None
    asked_api: bool
    before: Snapshot | None = None

    def look(self) -> dict[str, Any]:
        """What is so now, and what has happened since the last look. Raises RestError."""
        replicas = self.client.get("replicas")["items"]
        queues = self.client.get("queues")
        snapshot = take(self._addresses(), time.monotonic())
        happened = None if self.before is None or not snapshot.processes else between(self.before, snapshot)
        self.before = snapshot
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "metrics_from": len(snapshot.processes),
            "alive": {name: snapshot.sum(metric) for name, metric in _ALIVE.items()},
            "rates": None if happened is None else _rates(happened),
            "latencies": None if happened is None else {n: happened.quantiles(h) for n, h in LATENCIES.items()},
            "queues": queues,
            "replicas": replicas,
        }

    def _addresses(self) -> list[str]:
        """Where /metrics are: those given, else those of the set that runs here; a set may grow meanwhile."""
        if self.given or self.asked_api:
            return self.given or []
        try:
            processes = ask(self.data, {"command": "status"}, timeout=5.0).get("processes", [])
        except (NotRunningError, StillAtWorkError):
            return []
        return [process["metrics"] for process in processes if process.get("metrics")]


def _rates(happened: Between) -> dict[str, Any]:
    """Of one second."""
    return {
        "requests": happened.rates("vedette_sip_requests_total", "method"),
        "answers": happened.rates("vedette_sip_answers_total", "code"),
        "notifies": happened.rates("vedette_notifies_total", "outcome"),
        "refused": happened.rates("vedette_edge_refused_total", "reason"),
        "retransmissions": happened.rate("vedette_sip_retransmissions_total"),
        "expired": happened.rate("vedette_expired_total"),
    }


def _go_on(watched: _Watched, interval: float, *, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        watched.look()
        while True:
            time.sleep(interval)
            seen = watched.look()
            if not (say(json.dumps(seen)) if as_json else _print(seen)):
                return
    with Live(_screen(watched.look()), console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                shown = _screen(watched.look())
            except RestError as error:  # it may come back: a restart takes the api away for a moment
                shown = Group(Text(str(error), style="bold red"))
            live.update(shown, refresh=True)


def _print(seen: Mapping[str, Any]) -> bool:
    out = console(sys.stdout.isatty())
    with out.capture() as captured:
        out.print(_screen(seen))
    return say(captured.get().rstrip("\n"))


def _screen(seen: Mapping[str, Any]) -> Group:
    ready = sum(replica["ready"] for replica in seen["replicas"])
    facts = Table.grid(padding=(0, 2))
    facts.add_row("alive", _pairs(seen["alive"], "{:.0f}"))
    rates = seen["rates"]
    if rates is None:
        why = "one interval" if seen["metrics_from"] else "no /metrics can be reached from here: see --metrics"
        facts.add_row("rates", Text(f"({why})"))
    else:
        for name, value in rates.items():
            facts.add_row(f"{name}/s", _pairs(value, "{:.1f}") if isinstance(value, dict) else f"{value:.1f}")
        for name, found in seen["latencies"].items():
            if found is not None:
                shown = {quantile: seconds * 1000 for quantile, seconds in found.items()}
                facts.add_row(f"{name.replace('_', ' ')} ms", _pairs(shown, "{:.1f}"))
    facts.add_row("queues", _pairs({n: v for n, v in seen["queues"].items() if n != "of_last_flush"}, "{:g}"))
    columns = [column for column in COLUMNS if column.title in _SHOWN]
    count, told = len(seen["replicas"]), seen["metrics_from"]
    head = f"vedette {seen['time']}  {ready} of {count} processes ready, metrics of {told}"
    return Group(Text(head, style="bold"), facts, "", table_of(seen["replicas"], columns))


def _pairs(found: Mapping[str, float | None], form: str) -> Text:
    words = [
        f"{plain(name).replace('_', ' ')} {'-' if value is None else form.format(value)}"
        for name, value in found.items()
    ]
    return Text("   ".join(words) or "-")
