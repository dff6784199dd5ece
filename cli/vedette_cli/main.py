"""The command `vedette`."""

import typer

from vedette_cli.commands.config import config_app
from vedette_cli.commands.hash_list import hash_app
from vedette_cli.commands.migrate import migrate, secret_files
from vedette_cli.commands.publish import publish
from vedette_cli.commands.restart import restart
from vedette_cli.commands.scale import scale
from vedette_cli.commands.status import status
from vedette_cli.commands.up import up
from vedette_cli.commands.user import user_app
from vedette_cli.commands.watch import watch

app = typer.Typer(
    help="Vedette, a SIP presence server that scales out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (up, scale, restart, status, publish, watch, migrate):
    app.command()(command)
app.command("secret-files")(secret_files)
app.add_typer(hash_app, name="hash")
app.add_typer(user_app, name="user")
app.add_typer(config_app, name="config")


def main() -> None:
    """Run the command line."""
    app()
