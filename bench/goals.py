"""The goals of the work on speed, and what a run says of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bench.document import Document
from bench.measurement import Peak
from bench.one_watcher import milliseconds

IN_POSTGRES = ("stored", "database-only")
"""Kamailio's settings that keep publications in Postgres; the better one is compared with."""
FAN_OUT_OF = "{:,.0f} NOTIFYs/s"


class Verdict(StrEnum):
    """How a figure stands to its goal."""

    GOAL = "goal reached"
    FLOOR = "floor reached"
    MISSED = "not reached"
    STATED = "stated"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Standing:
    """One row."""

    work: str
    beside: str
    goal: str
    figure: str
    ratio: str
    verdict: Verdict


def standings(document: Document) -> list[Standing]:
    """All rows, with those that this run did not measure."""
    return [*_peaks(document), *_fan_out(document), *_latencies(document), *_costs(document), *_memory(document)]


def judge_ratio(ratio: float, goal: float, floor: float | None) -> Verdict:
    """Where more is better."""
    if ratio >= goal:
        return Verdict.GOAL
    return Verdict.FLOOR if floor is not None and ratio >= floor else Verdict.MISSED


def _peaks(document: Document) -> Iterator[Standing]:
    rows = (
        ("initial PUBLISH, durable", "publish", IN_POSTGRES, 4.0, 3.0),
        ("initial PUBLISH, durable", "publish", ("memory",), 1.0, 0.7),
        ("PUBLISH refresh, no watchers", "refresh", IN_POSTGRES, 4.0, None),
        ("PUBLISH modify, no watchers", "modify", IN_POSTGRES, 4.0, None),
        ("SUBSCRIBE and its first NOTIFY, durable", "subscribe", ("database-only",), 8.0, 6.0),
        ("SUBSCRIBE and its first NOTIFY, durable", "subscribe", ("memory",), 1.0, 0.7),
    )
    for work, part, others, goal, floor in rows:
        peaks: dict[str, Peak] = getattr(document, part)
        rates = {name: float(peak.rate) for name, peak in peaks.items()}
        yield _beside(work, rates, others, goal, floor, "{:,.0f}/s")


def _fan_out(document: Document) -> Iterator[Standing]:
    rates = {name: spread.notifies_per_second for name, spread in document.fan_out.items()}
    watchers = f"fan-out, {document.plan.watchers:,} watchers"
    yield _beside(watchers, rates, ("database-only",), 80.0, 60.0, FAN_OUT_OF)
    yield _beside(watchers, rates, ("memory",), 1.0, 0.6, FAN_OUT_OF)


def _beside(
    work: str, rates: dict[str, float], others: tuple[str, ...], goal: float, floor: float | None, form: str
) -> Standing:
    known = {name: rates[name] for name in others if name in rates}
    wanted = f"at least {goal:g} times" + (f" ({floor:g})" if floor is not None else "")
    if "vedette" not in rates or not known:
        return Standing(work, f"Kamailio {' or '.join(others)}", wanted, "-", "-", Verdict.UNKNOWN)
    best = max(known, key=lambda name: known[name])
    ratio = rates["vedette"] / known[best]
    figure = f"{form.format(rates['vedette'])} beside {form.format(known[best])}"
    return Standing(work, f"Kamailio {best}", wanted, figure, f"{ratio:.2f}", judge_ratio(ratio, goal, floor))


def _latencies(document: Document) -> Iterator[Standing]:
    ours, theirs = document.one_watcher.get("vedette"), document.one_watcher.get("memory")
    work = "one watcher, idle system, PUBLISH to NOTIFY"
    yield _below(
        f"{work}, median",
        "Kamailio memory",
        5.0,
        None if ours is None else (ours.notify_ms,),
        None if theirs is None else (theirs.notify_ms,),
    )
    yield _below(
        f"{work}, p99",
        "Kamailio memory",
        15.0,
        None if ours is None else (ours.notify_p99_ms,),
        None if theirs is None else (theirs.notify_p99_ms,),
    )
    plan = document.plan
    mixed, other = document.mixed.get("vedette"), document.mixed.get("database-only")
    yield _below(
        f"mixed: {plan.presentities:,} presentities, {plan.watchers_each} watchers each, "
        f"{plan.mixed_rate:g} PUBLISH/s, {plan.mixed_seconds:g} s, p99",
        "Kamailio database-only",
        100.0,
        None if mixed is None else (mixed.load.notify_p99_ms,),
        None if other is None else (other.load.notify_p99_ms,),
    )


def _below(
    work: str, beside: str, goal: float, ours: tuple[float | None] | None, theirs: tuple[float | None] | None
) -> Standing:
    """Either is None where nothing was measured, and holds None where too many NOTIFYs never came."""
    wanted = f"below {goal:g} ms"
    if ours is None:
        return Standing(work, beside, wanted, "-", "-", Verdict.UNKNOWN)
    mine = ours[0]
    other = None if theirs is None else theirs[0]
    figure = milliseconds(mine) + ("" if theirs is None else f" beside {milliseconds(other)}")
    ratio = f"{mine / other:.2f}" if mine is not None and other else "-"
    reached = mine is not None and mine < goal
    return Standing(work, beside, wanted, figure, ratio, Verdict.GOAL if reached else Verdict.MISSED)


def _costs(document: Document) -> Iterator[Standing]:
    parts = {
        "PUBLISH": document.publish,
        "refresh": document.refresh,
        "modify": document.modify,
        "SUBSCRIBE": document.subscribe,
    }
    peaks = {name: found["vedette"] for name, found in parts.items() if "vedette" in found}
    yield Standing(
        "CPU seconds per 1,000, all services and Postgres, at the peak",
        "-",
        "falls from version to version",
        ", ".join(f"{name} {sum(peak.cost_peak.values()):.2f}" for name, peak in peaks.items()) or "-",
        "-",
        Verdict.STATED if peaks else Verdict.UNKNOWN,
    )
    sizes = document.stored_dialogs
    span = f"{sizes[0].dialogs:,} to {sizes[-1].dialogs:,}" if sizes else "a thousand to a million"
    for name, costs in (("PUBLISH", [one.publish for one in sizes]), ("NOTIFY", [one.notify for one in sizes])):
        yield _growth(f"CPU per {name} with {span} dialogs stored", 1.2, [sum(one.values()) for one in costs])
    totals = [sum(one.cost.values()) for one in document.replicas]
    counts = ", ".join(str(one.cores) for one in document.replicas) or "1, 2, 4"
    yield _growth(f"CPU per request, {counts} cores and notifiers", 1.1, totals)


def _growth(work: str, most: float, totals: list[float]) -> Standing:
    """The dearest in turn with the first."""
    wanted = f"at most {most:g} times"
    if len(totals) < 2 or not totals[0]:
        return Standing(work, "-", wanted, "-", "-", Verdict.UNKNOWN)
    ratio = max(totals) / totals[0]
    figure = ", ".join(f"{total:.2f}" for total in totals) + " s per 1,000"
    return Standing(work, "-", wanted, figure, f"{ratio:.2f}", Verdict.GOAL if ratio <= most else Verdict.MISSED)


def _memory(document: Document) -> Iterator[Standing]:
    mixed = document.mixed.get("vedette")
    figure = "-"
    if mixed is not None:
        grown = {role: mixed.memory_after[role] - mixed.memory_before[role] for role in ("edge", "core", "notifier")}
        for_hundred_thousand = {role: 100_000 * octets / mixed.dialogs / 2**20 for role, octets in grown.items()}
        figure = ", ".join(f"{role} {mib:.1f} MiB" for role, mib in for_hundred_thousand.items())
    yield _stated("memory per 100,000 dialogs", figure)
    found = document.connections
    figure = "-" if found is None else f"{found.for_each('edge') / 1024:.1f} KiB of the edge"
    kept = [f"{name} {octets:,} octets" for name, octets in document.transactions.items() if "open" in name]
    yield _stated("memory per open transaction", "; ".join(kept) or "-")
    yield _stated("memory per idle TCP connection", figure)


def _stated(work: str, figure: str) -> Standing:
    return Standing(work, "-", "stated", figure, "-", Verdict.UNKNOWN if figure == "-" else Verdict.STATED)
