"""The figures as a table of ratios."""

import math
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from bench.document import Document
from bench.measurement import Peak
from bench.plan import COMMON_RATE, SYSTEMS

Figure = Callable[[Document, str], float | None]


def _peak(part: str, figure: Callable[[Peak], float]) -> Figure:
    def find(document: Document, system: str) -> float | None:
        found: dict[str, Peak] = getattr(document, part)
        return figure(found[system]) if system in found else None

    return find


def _time(milliseconds: float | None) -> float:
    """Endless where too many never came."""
    return math.inf if milliseconds is None else milliseconds


PEAKS = (
    ("initial PUBLISH", "publish"),
    ("PUBLISH refresh", "refresh"),
    ("PUBLISH modify", "modify"),
    ("SUBSCRIBE with its NOTIFY", "subscribe"),
)
ROWS: tuple[tuple[str, Figure, str], ...] = (
    *((f"{name}, per second", _peak(part, lambda peak: float(peak.rate)), "{:,.0f}") for name, part in PEAKS),
    (
        "fan-out, NOTIFYs per second",
        lambda d, s: d.fan_out[s].notifies_per_second if s in d.fan_out else None,
        "{:,.0f}",
    ),
    ("fan-out, ms to the last NOTIFY", lambda d, s: d.fan_out[s].last_ms if s in d.fan_out else None, "{:,.0f}"),
    ("fan-out, NOTIFYs that did not come", lambda d, s: d.fan_out[s].missing if s in d.fan_out else None, "{:,.0f}"),
    (
        "one watcher, ms, median",
        lambda d, s: _time(d.one_watcher[s].notify_ms) if s in d.one_watcher else None,
        "{:,.1f}",
    ),
    (
        "one watcher, ms, p99",
        lambda d, s: _time(d.one_watcher[s].notify_p99_ms) if s in d.one_watcher else None,
        "{:,.1f}",
    ),
    ("mixed, ms, median", lambda d, s: _time(d.mixed[s].load.notify_ms) if s in d.mixed else None, "{:,.0f}"),
    ("mixed, ms, p99", lambda d, s: _time(d.mixed[s].load.notify_p99_ms) if s in d.mixed else None, "{:,.0f}"),
    ("mixed, NOTIFYs that did not come", lambda d, s: d.mixed[s].load.missing if s in d.mixed else None, "{:,.0f}"),
    *(
        (f"CPU s for 1,000 {name}, {where}", figure, "{:.2f}")
        for name, part in PEAKS
        for where, figure in (
            (f"at {COMMON_RATE}/s", _peak(part, lambda peak: sum(peak.cost_common.values()))),
            ("at its peak", _peak(part, lambda peak: sum(peak.cost_peak.values()))),
        )
    ),
)
"""Name, figure and format of each row."""


def print_tables(document: Document, console: Console) -> None:
    """One column for each system, in parentheses what the first one is of it; then what only ours has."""
    if (compared := _compared(document)).row_count:
        console.print(compared)
    if (ours := _by_role(document)).row_count:
        console.print(ours)
    if (memory := document.connections) is not None:
        console.print(f"an idle TCP connection: {memory.for_each('edge') / 1024:.1f} KiB of the edge")
    for place, why in document.failed.items():
        console.print(f"no figures of {place}: {why}", markup=False)


def _compared(document: Document) -> Table:
    systems = [name for name in SYSTEMS if any(figure(document, name) is not None for _, figure, _ in ROWS)]
    table = Table(
        title=f"A commit takes {document.facts.commit_ms:.2f} ms. "
        "In parentheses: the first system's figure divided by this one"
    )
    table.add_column("")
    for name in systems:
        table.add_column(name, justify="right")
    for title, figure, form in ROWS:
        values = [figure(document, name) for name in systems]
        if any(value is not None for value in values):
            table.add_row(title, *(_cell(value, values[0], form) for value in values))
    return table


def _cell(value: float | None, first: float | None, form: str) -> str:
    if value is None:
        return "-"
    return form.format(value) + (
        f"  ({first / value:.1f})" if value and first is not None and value is not first else ""
    )


def _by_role(document: Document) -> Table:
    """CPU seconds of Vedette by service."""
    costs = costs_by_role(document)
    roles = sorted({role for _, found in costs for role in found})
    table = Table(title="Vedette: CPU seconds for 1,000, by service")
    table.add_column("")
    for role in (*roles, "all"):
        table.add_column(role, justify="right")
    for title, found in costs:
        cells = [f"{found[role]:.3f}" if role in found else "-" for role in roles]
        table.add_row(title, *cells, f"{sum(found.values()):.2f}")
    return table


def costs_by_role(document: Document) -> list[tuple[str, dict[str, float]]]:
    """All that has CPU seconds by service, with a title."""
    found: list[tuple[str, dict[str, float]]] = []
    for title, part in PEAKS:
        peaks: dict[str, Peak] = getattr(document, part)
        if "vedette" in peaks:
            found.append((f"{title} at {COMMON_RATE}/s", peaks["vedette"].cost_common))
            found.append((f"{title} at its peak ({peaks['vedette'].rate:,}/s)", peaks["vedette"].cost_peak))
    if "vedette" in document.mixed:
        found.append(("NOTIFY of the mixed load", document.mixed["vedette"].cost))
    for stored in document.stored_dialogs:
        found.append((f"PUBLISH, {stored.dialogs:,} dialogs stored", stored.publish))
        found.append((f"NOTIFY, {stored.dialogs:,} dialogs stored", stored.notify))
    found.extend(
        (f"PUBLISH and NOTIFY, {one.cores} cores, {one.notifiers} notifiers", one.cost) for one in document.replicas
    )
    return found
