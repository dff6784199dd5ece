"""TAB: names of commands, options and values, in each shell that is spoken of in docs/cli.md."""

import pytest
from typer.testing import CliRunner

from vedette_cli.lazy_commands import PLACES
from vedette_cli.main import app


def completed(words: str, at: int, *, shell: str = "bash") -> list[str]:
    """What is offered for the word at that place."""
    variables = {"_VEDETTE_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    variables |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return CliRunner().invoke(app, [], prog_name="vedette", env=variables).stdout.split()


@pytest.mark.parametrize(
    ("words", "at", "expected"),
    [
        ("vedette ", 1, list(PLACES)),
        ("vedette sub", 1, ["subscription"]),
        ("vedette t", 1, ["top", "tail", "trace", "token"]),
        ("vedette subscription te", 2, ["terminate"]),
        ("vedette subscription list --sta", 3, ["--status"]),
        ("vedette subscription terminate x --reason t", 5, ["timeout"]),
        ("vedette tail --kind ", 3, ["publication", "subscription", "notify"]),
    ],
)
def test_names_and_values_complete(words: str, at: int, expected: list[str]) -> None:
    assert completed(words, at) == expected


def test_other_shells_complete_too() -> None:
    assert completed("vedette pres", 1, shell="fish")[0] == "presentity"
    assert '"presentity"' in " ".join(completed("vedette pres", 1, shell="zsh"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    shown = CliRunner().invoke(app, ["--show-completion"], prog_name="vedette")
    assert shown.exit_code == 0
    assert "_VEDETTE_COMPLETE=complete_" in shown.stdout
