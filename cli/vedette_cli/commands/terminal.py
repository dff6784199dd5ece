"""How a command tells a person something."""

import os
import sys
from typing import NoReturn

import typer


def fail(message: str, code: int = 1) -> NoReturn:
    """Say in one line what was wrong, and end with that code."""
    sys.stderr.write(message + "\n")
    raise typer.Exit(code)


def say(line: str) -> bool:
    """Print a line; False where nobody reads any more, as behind `| head -1`."""
    try:
        typer.echo(line)
    except BrokenPipeError:
        # Python itself writes to stdout once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
