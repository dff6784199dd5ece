"""The figures as a table of ratios and as JSON."""

import dataclasses
import json
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measurement import COMMON_RATE, Plan, Result
from bench.postgres import PostgresServer

Figure = Callable[[Result], float]

COSTS: tuple[tuple[str, tuple[Figure, Figure]], ...] = (
    ("initial PUBLISH", (lambda r: r.publish.cpu_common, lambda r: r.publish.cpu_peak)),
    ("refreshes", (lambda r: r.refresh.cpu_common, lambda r: r.refresh.cpu_peak)),
    ("SUBSCRIBE", (lambda r: r.subscribe.cpu_common, lambda r: r.subscribe.cpu_peak)),
)

ROWS: tuple[tuple[str, Figure, str], ...] = (
    ("initial PUBLISH, per second", lambda r: float(r.publish.rate), "{:,.0f}"),
    ("PUBLISH refresh, per second", lambda r: float(r.refresh.rate), "{:,.0f}"),
    ("SUBSCRIBE with its NOTIFY, per second", lambda r: float(r.subscribe.rate), "{:,.0f}"),
    ("fan-out, NOTIFYs per second", lambda r: r.fan_out.notifies_per_second, "{:,.0f}"),
    ("fan-out, ms to the last NOTIFY", lambda r: r.fan_out.last_ms, "{:,.0f}"),
    ("fan-out, NOTIFYs that did not come", lambda r: float(r.fan_out.missing), "{:,.0f}"),
    *(
        (f"CPU s for 1,000 {name}, {where}", figure, "{:.2f}")
        for name, figures in COSTS
        for where, figure in zip((f"at {COMMON_RATE}/s", "at its peak"), figures, strict=True)
    ),
)
"""Name, figure and format of each row."""


def print_table(results: Sequence[Result], commit_ms: float) -> None:
    """One column for each system, and in parentheses what the first one is of it."""
    table = Table(
        title=f"A commit takes {commit_ms:.2f} ms. In parentheses: the first system's figure divided by this one"
    )
    table.add_column("")
    for result in results:
        table.add_column(result.name, justify="right")
    ours = results[0]
    for name, figure, form in ROWS:
        cells = [form.format(figure(ours))]
        for other in results[1:]:
            value = figure(other)
            cells.append(form.format(value) + (f"  ({figure(ours) / value:.1f})" if value else ""))
        table.add_row(name, *cells)
    Console().print(table)


def write_json(
    results: Sequence[Result], server: PostgresServer, commit_ms: float, plan: Plan, kamailio: str, folder: Path
) -> Path:
    """The file with everything that was found out."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    facts = {
        "at": now.isoformat(timespec="seconds"),
        "machine": {"processor": _processor(), "kernel": platform.release(), "python": platform.python_version()},
        "postgres": server.settings | {"commit_ms": commit_ms},
        "kamailio": kamailio,
        "plan": dataclasses.asdict(plan) | {"common_rate": COMMON_RATE},
        "results": [dataclasses.asdict(result) for result in results],
    }
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()
