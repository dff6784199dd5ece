"""What the operator has set about watchers: in the set that runs on a folder, else in the parameters."""

from pathlib import Path

from vedette.rules.permissions import Handling
from vedette.rules.ruling import Defaults
from vedette.runtime.settings import StoreSettings, load_settings
from vedette_cli.supervisor.control import NotRunningError, ask


def what_is_in_force(data: Path) -> tuple[Defaults, bool]:
    """The defaults, and whether presence shows calls (`mix_dialog_presence`)."""
    try:
        answer = ask(data, {"command": "watchers"})
    except NotRunningError:
        answer = {}
    if "default_rule" not in answer:
        settings = load_settings(StoreSettings)
        return settings.defaults(), bool(settings.mix_dialog_presence)
    defaults = Defaults(
        default_rule=Handling.from_text(answer["default_rule"]),
        dialog_rule=answer["dialog_rule"],
        force_active=bool(answer["force_active"]),
        sphere_check=bool(answer["enable_sphere_check"]),
        any_case=bool(answer["sip_uri_match"]),
    )
    return defaults, bool(answer["mix_dialog_presence"])
