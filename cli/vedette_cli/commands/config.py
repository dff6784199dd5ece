"""`vedette config show|check`: the parameters in force, and whether they can be started with."""

import json
import sys
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vedette.runtime.settings import ServiceSettings
from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.terminal import fail, say
from vedette_cli.configuration.check import check as check_parameters
from vedette_cli.configuration.services import NoServiceError, settings_classes
from vedette_cli.configuration.values import BadParametersError, Value, parameters_of, values
from vedette_cli.supervisor.control import NotRunningError, ask

config_app = typer.Typer(help="The parameters of the services.", no_args_is_help=True)


@config_app.command()
def show(data: DataOption = Path(".vedette"), as_json: JsonOption = False) -> None:
    """List every parameter in force with its value and source, passwords masked.

    They are those of the set that runs on the data folder; where none runs, those that services started from this
    environment would have.
    """
    commanded: Collection[str] = ()
    with ExitStack() as stack:
        try:
            answer = ask(data, {"command": "parameters"})
        except NotRunningError:
            whose = "that services started from here would have (no set runs)"
        else:
            if "error" in answer:
                fail(str(answer["error"]))
            whose = f"of the set that runs on {data}"
            commanded = answer["commanded"]
            stack.enter_context(parameters_of(answer["environment"]))
        try:
            found = values(_classes(), commanded)
        except BadParametersError as error:
            fail(str(error), 2)
    if as_json:
        for value in found:
            if not say(json.dumps(value.facts())):
                return
    else:
        say(f"Parameters {whose}:")
        # a pipe has no width: whoever reads it wants whole lines
        Console(width=None if sys.stdout.isatty() else 1000).print(_table(found))


def _table(found: list[Value]) -> Table:
    everybody = max(len(value.services) for value in found)
    table = Table(box=None, pad_edge=False)
    for column in ("PARAMETER", "VALUE", "SOURCE", "SERVICES"):
        table.add_column(column, overflow="fold")
    for value in found:
        services = "all" if len(value.services) == everybody else ", ".join(value.services)
        table.add_row(value.name, Text(value.value), value.source, services)
    return table


@config_app.command()
def check() -> None:
    """Check the environment and the TOML file that VEDETTE_CONFIG names, without starting anything.

    Exit code 2: a service would not start; 1: a name that nobody reads; 0: neither.
    """
    kinds = _classes()
    findings = check_parameters(kinds)
    for remark in findings.remarks:
        say(remark)
    if findings.bad:
        fail("\n".join([*findings.bad, *findings.unknown]), 2)
    if findings.unknown:
        fail("\n".join(findings.unknown))
    say(f"{len({name for kind in kinds.values() for name in kind.model_fields})} parameters, all allowed")


def _classes() -> dict[str, type[ServiceSettings]]:
    try:
        return settings_classes()
    except NoServiceError as error:
        fail(str(error))
