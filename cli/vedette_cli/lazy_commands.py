"""Commands whose modules are imported when they are called: what a command needs is most of what its start costs."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command as made_of

PLACES = {
    "up": "up:up",
    "scale": "scale:scale",
    "restart": "restart:restart",
    "status": "status:status",
    "publish": "publish:publish",
    "watch": "watch:watch",
    "top": "top:top",
    "tail": "tail:tail",
    "doctor": "doctor:doctor",
    "presentity": "presentity:presentity_app",
    "publication": "publication:publication_app",
    "subscription": "subscription:subscription_app",
    "watcher": "watcher:watcher_app",
    "registration": "registration:registration_app",
    "replica": "replica:replica_app",
    "queue": "system_lists:queue",
    "settings": "system_lists:settings",
    "package": "system_lists:package_app",
    "trace": "trace:trace",
    "audit": "system_lists:audit_app",
    "cleanup": "system_lists:cleanup",
    "explain": "explain:explain",
    "migrate": "migrate:migrate",
    "secret-files": "migrate:secret_files",
    "hash": "hash_list:hash_app",
    "user": "user:user_app",
    "ban": "ban:ban_app",
    "token": "token:token_app",
    "config": "config:config_app",
    "rules": "stored_rules:stored_rules_app",
}
"""Each command's module in vedette_cli.commands, and its name there: a function, or a Typer of several."""


class LazyCommands(TyperGroup):
    """The commands of PLACES, in that order."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": dict.fromkeys(PLACES)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with that name; None where there is none."""
        if self.commands.get(cmd_name) is None and cmd_name in PLACES:
            self.commands[cmd_name] = _made(cmd_name)
        return super().get_command(ctx, cmd_name)


def _made(name: str) -> Any:
    module, _, attribute = PLACES[name].partition(":")
    found = getattr(import_module(f"vedette_cli.commands.{module}"), attribute)
    group = found
    if not isinstance(found, typer.Typer):
        group = typer.Typer(add_completion=False)
        group.command(name)(found)
    command = made_of(group)
    command.name = name
    # made_of adds these to what it makes of any Typer
    command.params = [one for one in command.params if one.name not in {"install_completion", "show_completion"}]
    return command
