"""The pictures and the page of docs/benchmarks, from a run that was kept: `python -m bench.charts RESULT.json`."""

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import document, page
from bench.document import Document
from bench.measurement import Peak
from bench.plan import SYSTEMS
from bench.report import PEAKS, costs_by_role

INTO = Path(__file__).parents[1] / "docs" / "benchmarks"
COLOURS = dict(zip(SYSTEMS, ("#1b6e53", "#c1666b", "#d4a056", "#8d8d8d", "#4a6fa5"), strict=True))
NAMES = {name: "Vedette" if name == "vedette" else f"Kamailio {name}" for name in SYSTEMS}
ROLES = ("edge", "core", "notifier", "api", "supervisor", "redis", "postgres")
ROLE_COLOURS = dict(
    zip(ROLES, ("#1b6e53", "#4a6fa5", "#d4a056", "#8d8d8d", "#c9c9c9", "#c1666b", "#5b4b8a"), strict=True)
)
WIDTH = 9.0
SHORTEST = 0.1
"""Milliseconds where an axis of times begins."""


def draw(found: Document, into: Path) -> list[Path]:
    """Draw all that the run has figures for; the files."""
    into.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "bench"}
    )
    drawings = {
        "rates": _rates,
        "fan-out": _fan_out,
        "one-watcher": _one_watcher,
        "mixed": _mixed,
        "cpu-by-service": _cpu_by_service,
        "stored-dialogs": _stored_dialogs,
        "replicas": _replicas,
        "memory": _memory,
    }
    files: list[Path] = []
    for name, drawing in drawings.items():
        figure = drawing(found)
        if figure is not None:
            path = into / f"{name}.png"
            _footer(figure, found)
            figure.savefig(path, dpi=110, metadata={"Software": None})
            files.append(path)
    return files


def _rates(found: Document) -> Figure | None:
    parts: list[tuple[str, dict[str, Peak]]] = [(title, getattr(found, part)) for title, part in PEAKS]
    parts = [(title, peaks) for title, peaks in parts if peaks]
    if not parts:
        return None
    figure, axes = _picture("The highest rate held, requests in a second", 4.6)
    systems = [name for name in SYSTEMS if any(name in peaks for _, peaks in parts)]
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        spots = [number for number, (_, peaks) in enumerate(parts) if system in peaks]
        bars = axes.bar(
            [number + (place - (len(systems) - 1) / 2) * width for number in spots],
            [parts[number][1][system].rate for number in spots],
            width,
            color=COLOURS[system],
            label=NAMES[system],
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7)
    figure.subplots_adjust(left=0.08)
    axes.set_xticks(range(len(parts)), [title for title, _ in parts])
    axes.legend(frameon=False, fontsize=8)
    return figure


def _fan_out(found: Document) -> Figure | None:
    if not found.fan_out:
        return None
    figure, axes = _picture(f"Fan-out to {found.plan.watchers:,} watchers: NOTIFYs in a second, until the last", 3.6)
    _bars(axes, {name: spread.notifies_per_second for name, spread in found.fan_out.items()}, "{:,.0f}")
    _logarithmic(axes, 1.0, max(spread.notifies_per_second for spread in found.fan_out.values()))
    return figure


def _one_watcher(found: Document) -> Figure | None:
    if not found.one_watcher:
        return None
    figure, axes = _picture("One watcher, idle system: ms from the PUBLISH to the NOTIFY, median and p99", 4.0)
    _two_bars(axes, {name: (load.notify_ms, load.notify_p99_ms) for name, load in found.one_watcher.items()})
    return figure


def _mixed(found: Document) -> Figure | None:
    if not found.mixed:
        return None
    plan = found.plan
    figure, axes = _picture(
        f"{plan.presentities:,} presentities with {plan.watchers_each} watchers each, "
        f"{plan.mixed_rate:g} PUBLISH/s for {plan.mixed_seconds:g} s: ms to the NOTIFY, median and p99",
        3.2,
    )
    _two_bars(axes, {name: (one.load.notify_ms, one.load.notify_p99_ms) for name, one in found.mixed.items()})
    axes.set_xlabel(
        "; ".join(
            f"{NAMES[name]}: of {one.load.expected:,} NOTIFYs {one.load.missing:,} never came"
            for name, one in found.mixed.items()
        )
    )
    return figure


def _cpu_by_service(found: Document) -> Figure | None:
    costs = [(title, cost) for title, cost in costs_by_role(found) if "stored" not in title and "cores" not in title]
    return _stacked("Vedette: CPU seconds for 1,000, by service", costs)


def _stored_dialogs(found: Document) -> Figure | None:
    costs = [
        *((f"PUBLISH, {one.dialogs:,} dialogs", one.publish) for one in found.stored_dialogs),
        *((f"NOTIFY, {one.dialogs:,} dialogs", one.notify) for one in found.stored_dialogs),
    ]
    return _stacked("CPU seconds for 1,000 beside so many stored dialogs", costs)


def _replicas(found: Document) -> Figure | None:
    costs = [(f"{one.cores} cores, {one.notifiers} notifiers", one.cost) for one in found.replicas]
    return _stacked(f"CPU seconds for 1,000 PUBLISHes and their NOTIFYs, at {found.plan.replica_rate:g}/s", costs)


def _memory(found: Document) -> Figure | None:
    mixed = found.mixed.get("vedette")
    if mixed is None:
        return None
    grown = {
        role: max(0.0, 1e5 * (octets - mixed.memory_before[role]) / mixed.dialogs / 2**20)
        for role, octets in mixed.memory_after.items()
    }
    connections = found.connections
    title = "MiB of memory more with 100,000 dialogs, by service"
    if connections is not None:
        title += f"; {connections.for_each('edge') / 1024:.1f} KiB of the edge for an idle TCP connection"
    figure, axes = _picture(title, 3.4)
    roles = [role for role in ("redis", "notifier", "core", "edge") if role in grown]
    bars = axes.barh(roles, [grown[role] for role in roles], color=[ROLE_COLOURS[role] for role in roles])
    axes.bar_label(bars, fmt="{:,.1f}", padding=3)
    return figure


def _picture(title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height + 0.9))
    axes = figure.subplots()
    axes.set_title(textwrap.fill(title, 85), loc="left", fontsize=10, fontweight="bold")
    figure.subplots_adjust(left=0.24, right=0.95, top=1 - 0.55 / (height + 0.9), bottom=1.15 / (height + 0.9))
    return figure, axes


def _bars(axes: Axes, values: Mapping[str, float], form: str) -> None:
    systems = [name for name in reversed(SYSTEMS) if name in values]
    bars = axes.barh(
        [NAMES[name] for name in systems],
        [values[name] for name in systems],
        color=[COLOURS[name] for name in systems],
    )
    axes.bar_label(bars, fmt=form, padding=3)


def _logarithmic(axes: Axes, least: float, most: float) -> None:
    """An axis of decades, with room for the figure beside the longest bar."""
    axes.set_xscale("log")
    axes.set_xlim(least, max(most, 10 * least) * 3)


def _two_bars(axes: Axes, values: Mapping[str, tuple[float | None, float | None]]) -> None:
    """Median and p99 of each system; what never came has no bar."""
    systems = [name for name in reversed(SYSTEMS) if name in values]
    for offset, number, alpha in ((0.2, 0, 1.0), (-0.2, 1, 0.55)):
        known = [(place, values[name][number]) for place, name in enumerate(systems)]
        bars = axes.barh(
            [place + offset for place, _ in known],
            [SHORTEST if value is None else value for _, value in known],
            0.38,
            color=[COLOURS[name] for name in systems],
            alpha=alpha,
        )
        axes.bar_label(bars, ["never" if value is None else f"{value:,.1f}" for _, value in known], padding=3)
    axes.set_yticks(range(len(systems)), [NAMES[name] for name in systems])
    _logarithmic(axes, SHORTEST, max((value or 0.0 for pair in values.values() for value in pair), default=0.0))


def _stacked(title: str, costs: Sequence[tuple[str, Mapping[str, float]]]) -> Figure | None:
    if not costs:
        return None
    figure, axes = _picture(title, 1.6 + 0.32 * len(costs))
    figure.subplots_adjust(left=0.36)
    names = [name for name, _ in reversed(costs)]
    ends = [0.0] * len(costs)
    bars = None
    for role in ROLES:
        values = [cost.get(role, 0.0) for _, cost in reversed(costs)]
        if any(values):
            bars = axes.barh(names, values, left=ends, color=ROLE_COLOURS[role], label=role)
            ends = [end + value for end, value in zip(ends, values, strict=True)]
    if bars is not None:
        axes.bar_label(bars, [f"{end:.2f}" for end in ends], padding=3)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    axes.margins(x=0.1)
    return figure


def _footer(figure: Figure, found: Document) -> None:
    facts = found.facts
    kamailio = f", {facts.kamailio}" if facts.kamailio else ""
    postgres = f"PostgreSQL {facts.postgres['server_version']}, fsync {facts.postgres['fsync']}"
    lines = (
        f"{facts.at[:10]}, {facts.processor}, Linux {facts.kernel}, Python {facts.python}; with the load generator",
        f"Vedette {facts.vedette}{kamailio}, {postgres}; a commit takes {facts.commit_ms:.2f} ms",
        facts.command,
    )
    text = "\n".join(textwrap.fill(line, 150) for line in lines)
    figure.text(0.015, 0.015, text, fontsize=6.5, color="#555555", va="bottom")


def main() -> None:
    """Draw the pictures and write the page."""
    parser = argparse.ArgumentParser(description="Draw the charts of a run that was kept.")
    parser.add_argument("result", type=Path, help="the JSON file that `make bench` has written")
    parser.add_argument("--into", type=Path, default=INTO, help="folder for pictures, page and a copy of the figures")
    options = parser.parse_args()
    for path in publish(document.read(options.result), options.result.stem, options.into):
        print(path)


def publish(found: Document, name: str, into: Path) -> list[Path]:
    """Pictures, page and a copy of the figures, in a folder."""
    kept = into / "results" / f"{name}.json"
    document.write(found, kept)
    pictures = draw(found, into)
    text = into / "README.md"
    text.write_text(page.write(found, kept.name, [picture.name for picture in pictures]), encoding="utf-8")
    return [kept, *pictures, text]


if __name__ == "__main__":
    main()
