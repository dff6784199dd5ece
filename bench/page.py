"""docs/benchmarks/README.md, from the figures of a run."""

from collections.abc import Sequence

from bench.document import Document
from bench.goals import standings
from bench.report import costs_by_role

HEAD = """# Benchmarks

Written by `python -m bench.charts`; do not edit. What is measured, and how: [bench/README.md](../../bench/README.md).
What was tried, and what it gave: [notes.md](notes.md).

Both systems, Postgres and the load generator share one machine: only ratios of one run mean something.
"""


def write(found: Document, result: str, pictures: Sequence[str]) -> str:
    """The page, as Markdown."""
    return "\n".join([HEAD, *_run(found, result), *_goals(found), *_pictures(pictures), *_services(found)])


def _run(found: Document, result: str) -> list[str]:
    facts = found.facts
    kamailio = f"; {facts.kamailio}" if facts.kamailio else ""
    postgres = ", ".join(f"{name} {value}" for name, value in facts.postgres.items())
    lines = [
        f"- Run of {facts.at}: [{result}](results/{result}), load average before it {facts.load_average:.1f}",
        f"- Machine: {facts.processor}, Linux {facts.kernel}, Python {facts.python}",
        f"- Vedette {facts.vedette}{kamailio}",
        f"- PostgreSQL: {postgres}; a commit takes {facts.commit_ms:.2f} ms",
        f"- Command: `{facts.command}`",
    ]
    lines += [f"- No figures of {place}: {_cell(why)}" for place, why in found.failed.items()]
    return [*lines, ""]


def _goals(found: Document) -> list[str]:
    rows = [
        f"| {row.work} | {row.beside} | {row.goal} | {row.figure} | {row.ratio} | {row.verdict.value} |"
        for row in standings(found)
    ]
    return [
        "## Goals",
        "",
        "| work | beside | goal (floor) | figure | ratio | |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _pictures(pictures: Sequence[str]) -> list[str]:
    if not pictures:
        return []
    return ["## Pictures", "", *(line for name in pictures for line in (f"![{name}]({name})", ""))]


def _services(found: Document) -> list[str]:
    costs = costs_by_role(found)
    if not costs:
        return []
    roles = sorted({role for _, cost in costs for role in cost})
    rows = [
        f"| {title} | {' | '.join(f'{cost[role]:.3f}' if role in cost else '-' for role in roles)} "
        f"| {sum(cost.values()):.3f} |"
        for title, cost in costs
    ]
    return [
        "## CPU seconds for 1,000, by service",
        "",
        f"| | {' | '.join(roles)} | all |",
        f"|---|{'---|' * len(roles)}---|",
        *rows,
        "",
    ]


def _cell(text: str) -> str:
    return " ".join(text.split())[:200]
