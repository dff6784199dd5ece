"""The command `vedette`."""

import typer

from vedette_cli.lazy_commands import LazyCommands

app = typer.Typer(
    cls=LazyCommands,
    help="Vedette, a SIP presence server that scales out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _vedette() -> None:
    """Vedette, a SIP presence server that scales out."""


def main() -> None:
    """Run the command line."""
    app()
