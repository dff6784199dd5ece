"""`make bench`: the same loads on Vedette and on Kamailio, one after the other, over one Postgres."""

import asyncio
import shlex
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from bench import charts, document, facts, kamailio, report, sipp
from bench.document import Document
from bench.plan import PARTS, SYSTEMS, Part, Plan, choose, estimate
from bench.postgres import embedded_server, look_at
from bench.run import Run
from vedette_cli.supervisor.folders import SetupError

RESULTS = Path(__file__).with_name("results")
ALL_PARTS = tuple(part.name for part in PARTS)


def main(
    only: Annotated[str, typer.Option(help=f"Some of {','.join(SYSTEMS)}.")] = ",".join(SYSTEMS),
    parts: Annotated[str, typer.Option(help=f"Some of {','.join(ALL_PARTS)}.")] = ",".join(ALL_PARTS),
    seconds: Annotated[float, typer.Option(min=1, help="Length of a step.")] = 4.0,
    watchers: Annotated[int, typer.Option(min=1, help="Watchers of the one presentity.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="Changes of its state.")] = 5,
    changes: Annotated[int, typer.Option(min=1, help="Changes for one watcher on an idle system.")] = 300,
    presentities: Annotated[int, typer.Option(min=1, help="Of the mixed load.")] = 5000,
    watchers_each: Annotated[int, typer.Option(min=1, help="Watchers of each of them.")] = 20,
    mixed_rate: Annotated[float, typer.Option(min=1, help="PUBLISHes in a second of the mixed load.")] = 200.0,
    mixed_seconds: Annotated[float, typer.Option(min=1, help="Its length.")] = 60.0,
    sizes: Annotated[str, typer.Option(help="Dialogs stored while costs are compared.")] = "1000,100000,1000000",
    replica_rate: Annotated[float, typer.Option(min=1, help="PUBLISHes in a second for 1, 2, 4 replicas.")] = 500.0,
    connections: Annotated[int, typer.Option(min=1, help="Idle TCP connections.")] = 10_000,
    up: Annotated[str, typer.Option(help='Options of `vedette up`, like "--cores 4".')] = "",
    commit_ms: Annotated[
        float, typer.Option(min=0, max=100, help="Have each flush of Postgres's log take so many ms longer.")
    ] = 0.0,
    database_url: Annotated[str | None, typer.Option(help="A Postgres on this machine.")] = None,
) -> None:
    """Measure, print a table of ratios, keep everything in bench/results/, and draw it.

    A whole run is drawn into docs/benchmarks/, one of some parts or systems beside its figures.
    """
    systems = _names("--only", only, SYSTEMS)
    chosen = choose(_names("--parts", parts, ALL_PARTS), systems)
    lacking = [sipp.missing(), None if systems == ["vedette"] else kamailio.missing()]
    if any(lacking):
        _fail("not installed: " + "; ".join(name for name in lacking if name))
    plan = Plan(
        seconds=seconds,
        watchers=watchers,
        rounds=rounds,
        commit_ms=commit_ms,
        changes=changes,
        presentities=presentities,
        watchers_each=watchers_each,
        mixed_rate=mixed_rate,
        mixed_seconds=mixed_seconds,
        sizes=tuple(sorted(int(size) for size in sizes.split(","))),
        replica_rate=replica_rate,
        connections=connections,
    )
    whole = len(chosen) == len(PARTS) and all(list(part.systems) == names for part, names in chosen)
    _say(f"this takes about {estimate(chosen) / 60:.0f} minutes where nobody else uses the machine")
    found, path = asyncio.run(_run(chosen, plan, up.split(), database_url))
    report.print_tables(found, Console(width=None if sys.stdout.isatty() else 160))
    into = charts.INTO if whole else path.with_suffix("")
    charts.publish(found, path.stem, into)
    _say(f"kept in {path}, drawn in {into}")


def _names(option: str, value: str, known: tuple[str, ...]) -> list[str]:
    wanted = [name.strip() for name in value.split(",")]
    if unknown := [name for name in wanted if name not in known]:
        _fail(f"{option}: {', '.join(unknown)} is none of {', '.join(known)}", 2)
    return wanted


async def _run(
    chosen: list[tuple[Part, list[str]]], plan: Plan, up: list[str], database_url: str | None
) -> tuple[Document, Path]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vedette-bench-", dir="/tmp")))
        folder.chmod(0o755)
        if database_url is None:
            try:
                database_url = await stack.enter_async_context(embedded_server(folder / "postgres"))
            except SetupError as error:
                _fail(str(error))
        server = await look_at(database_url)
        if plan.commit_ms:
            await server.slow_down(plan.commit_ms)
            server = await look_at(database_url)
        commit_ms = await server.commit_ms()
        _say(f"a commit takes {commit_ms:.2f} ms")
        _say(f"PostgreSQL {server.settings['server_version']}, fsync {server.settings['fsync']}")
        version = await kamailio.version() if any(names != ["vedette"] for _, names in chosen) else ""
        command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
        found = Document(facts.gather(server, commit_ms, version, command), plan)
        path = RESULTS / f"{datetime.fromisoformat(found.facts.at):%Y%m%dT%H%M%SZ}.json"
        document.write(found, path)
        _say(f"kept in {path} as it goes")
        await Run(found, path, server, folder, up, _say).measure(chosen)
    return found, path


def _say(text: str) -> None:
    print(f"{datetime.now().astimezone():%H:%M:%S} {text}", flush=True)


def _fail(message: str, code: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(code)


typer.run(main)
