"""The generated pages are what they would be written as now, and the one of the parameters misses none."""

import re
from pathlib import Path

import pytest

from tests import commands_page
from tests.generated_pages import COMMANDS, METRICS, PARAMETERS, pages
from tests.rfc_coverage import CHECKLIST, PAGE, ROOT, find_tests
from vedette.runtime.parameters import LATER, ORIGINAL, parameters
from vedette_cli.commands.exit_codes import ExitCode
from vedette_cli.configuration.services import settings_classes


@pytest.mark.parametrize("page", [PARAMETERS, METRICS, COMMANDS, PAGE], ids=lambda page: page.name)
def test_a_page_is_not_stale(page: Path) -> None:
    texts = dict(pages())
    if page == PAGE and page not in texts:
        pytest.skip(f"the RFC checklist is not part of the project and not in {CHECKLIST} (VEDETTE_SHARED)")
    assert page.read_text(encoding="utf-8") == texts[page], "run `make docs`"


def test_every_parameter_of_the_presence_module_is_there() -> None:
    names = {one.name for one in parameters(settings_classes())}
    assert {*ORIGINAL, *LATER} - names == set()


def test_every_parameter_of_the_presence_module_has_a_test_that_changes_it() -> None:
    """One whose name says so; that of `max_expires_publish` is none of `max_expires`."""
    names = [test.name for test in find_tests(ROOT / "tests") if "_parameter" in test.name]
    untested = {
        name
        for name in (*ORIGINAL, *LATER)
        if not any(re.search(rf"_{name}(?=_|$)", _without(test, name)) for test in names)
    }
    assert untested == set()


def _without(test: str, name: str) -> str:
    """The name of the test without parameters whose names begin with this one's."""
    for other in (*ORIGINAL, *LATER):
        if other.startswith(f"{name}_"):
            test = test.replace(other, "")
    return test


def test_every_number_that_is_counted_says_of_what() -> None:
    bare = {one.name for one in parameters(settings_classes()) if one.allowed.startswith("a whole") and not one.unit}
    assert bare == set()


def test_the_page_of_commands_has_every_command_option_and_exit_code() -> None:
    text = commands_page.page()
    for expected in (
        "### `vedette subscription terminate`",
        "    vedette subscription terminate ID [OPTIONS]",
        "`deactivated`, `probation`",
        "| `--limit` | a whole number from 0 | `1000` |",
        "| `--for` | text | `1d` |",
        "Also `--data`, `--api`, `--token-file`, `--json`.",
        *(f"| {code.value} | " for code in ExitCode),
    ):
        assert expected in text
    assert "None" not in text
    assert "Annotated" not in text
