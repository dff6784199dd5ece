"""`vedette config check`: bad values, names that nobody reads, parameters without effect."""

from pathlib import Path

import pytest

from vedette.runtime.parameters import REPLACED
from vedette_cli.configuration.check import NO_PARAMETERS, check
from vedette_cli.configuration.services import settings_classes

KINDS = settings_classes()
NAMES = {name for kind in KINDS.values() for name in kind.model_fields}


def set_parameters(monkeypatch: pytest.MonkeyPatch, **parameters: str) -> None:
    for name, value in parameters.items():
        monkeypatch.setenv(f"VEDETTE_{name.upper()}", value)


def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    path = tmp_path / "vedette.toml"
    path.write_text(text)
    monkeypatch.setenv("VEDETTE_CONFIG", str(path))
    return path


def test_the_services_are_found_by_their_entry_points() -> None:
    assert list(KINDS) == ["notifier", "presence-core", "sip-edge"]


def test_the_defaults_are_right() -> None:
    found = check(KINDS)
    assert (found.bad, found.unknown, found.remarks) == ([], [], [])


def test_a_bad_value_of_several_services_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    set_parameters(monkeypatch, log_level="loud", max_expires="0")
    found = check(KINDS)
    assert [line.partition(":")[0] for line in found.bad] == ["VEDETTE_LOG_LEVEL", "VEDETTE_MAX_EXPIRES"]
    assert "Allowed: a whole number from 1 to 2147483647 (seconds)." in found.bad[1]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("VEDETTE_MAX_EXPIRE", "VEDETTE_MAX_EXPIRE is no parameter. Is it VEDETTE_MAX_EXPIRES?"),
        ("vedette_min_expire", "vedette_min_expire is no parameter. Is it VEDETTE_MIN_EXPIRES?"),
        ("VEDETTE_XYZ", "VEDETTE_XYZ is no parameter."),
        (
            "VEDETTE_TIMEOUT_RM_SUBS",
            f"VEDETTE_TIMEOUT_RM_SUBS is no parameter of Vedette. {REPLACED['timeout_rm_subs']}",
        ),
    ],
)
def test_a_name_that_nobody_reads_is_told_with_the_nearest(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    found = check(KINDS)
    assert found.unknown == [told]
    assert found.bad == []


def test_names_in_the_file_are_checked_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, monkeypatch, "MAX_EXPIRES = 60\nmin_expires = 60\nt2 = 100\n[sip]\nport = 5060\n")
    found = check(KINDS)
    assert found.unknown == [
        f"MAX_EXPIRES in {path} is no parameter. Is it max_expires?",
        f"sip in {path} is no parameter.",
    ]
    assert found.bad == []


def test_a_file_that_cannot_be_read_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path, monkeypatch, "min_expires = 'six")
    found = check(KINDS)
    (line,) = found.bad
    assert line.startswith("VEDETTE_CONFIG: ")
    assert found.unknown == []


@pytest.mark.parametrize("name", sorted(NO_PARAMETERS - {"config"}))
def test_our_names_for_other_uses_are_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_parameters(monkeypatch, **{name: "/nowhere"})
    assert check(KINDS).unknown == []


def test_a_parameter_without_effect_is_remarked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    set_parameters(monkeypatch, db_update_period="50", mix_dialog_presence="1")
    found = check(KINDS)
    assert [line.partition(" has no effect. ")[0] for line in found.remarks] == ["VEDETTE_DB_UPDATE_PERIOD"]
    set_parameters(monkeypatch, db_update_period="100", mix_dialog_presence="1")
    assert check(KINDS).remarks == []


def test_what_is_replaced_is_no_parameter() -> None:
    assert not REPLACED.keys() & (NAMES | NO_PARAMETERS)
