"""`vedette scale`: change how many processes of a service run."""

from pathlib import Path
from typing import Annotated

import typer

from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.status import ask_set, show
from vedette_cli.commands.terminal import fail


def scale(
    counts: Annotated[list[str], typer.Argument(metavar="SERVICE=COUNT...", help="Like core=5 notifier=2 edge=2.")],
    data: DataOption = Path(".vedette"),
    as_json: JsonOption = False,
) -> None:
    """Change how many processes of a service run, while they work."""
    wanted: dict[str, int] = {}
    for item in counts:
        name, equals, number = item.partition("=")
        if not equals or not number.isdigit():
            fail(f"{item!r}: write SERVICE=COUNT, like core=5", 2)
        wanted[name] = int(number)
    show(ask_set(data, {"command": "scale", "counts": wanted}), as_json=as_json)
