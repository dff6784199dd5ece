"""Options that many commands have."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[Path, typer.Option("--data", help="Folder for data, secrets and logs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object for each line.")]
