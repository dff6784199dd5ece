"""`vedette config show`: each value in force and where it comes from."""

import os
from pathlib import Path

import pytest

from vedette_cli.configuration.services import settings_classes
from vedette_cli.configuration.values import BadParametersError, Value, parameters_of, values

KINDS = settings_classes()


def value(name: str, found: list[Value]) -> Value:
    (one,) = [one for one in found if one.name == name]
    return one


def test_every_parameter_of_every_service_is_listed_with_its_default() -> None:
    found = values(KINDS)
    listed = {(name, service) for one in found for name, service in [(one.name, s) for s in one.services]}
    assert listed == {(name, service) for service, kind in KINDS.items() for name in kind.model_fields}
    assert {one.source for one in found} == {"default"}
    assert found[0].name == "db_url", "the module's own come first"
    assert value("log_level", found).services == ("notifier", "presence-core", "sip-edge")


def test_each_source_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "vedette.toml"
    file.write_text('max_expires = 60\nmin_expires = 30\ndomains = "a.example"\nnothing = 1\n')
    monkeypatch.setenv("VEDETTE_CONFIG", str(file))
    monkeypatch.setenv("VEDETTE_MAX_EXPIRES", "90")
    monkeypatch.setenv("VEDETTE_T1", "20")
    found = values(KINDS, commanded=["VEDETTE_T1", "VEDETTE_T2"])
    assert value("max_expires", found) == Value("max_expires", "90", "environment", ("presence-core",))
    assert value("min_expires", found) == Value("min_expires", "30", "file", ("presence-core",))
    assert value("domains", found) == Value("domains", "a.example", "file", ("presence-core",))
    assert value("t1", found) == Value("t1", "20", "command line", ("sip-edge",))
    assert value("t2", found) == Value("t2", "4000", "default", ("sip-edge",))


def test_a_value_that_is_the_default_and_was_set_has_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_CLEAN_PERIOD", "100")
    assert value("clean_period", values(KINDS)).source == "environment"


def test_sec_06_passwords_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_DB_URL", "postgresql://vedette:hunter2@db/v?passfile=x")
    monkeypatch.setenv("VEDETTE_REDIS_URL", "rediss://:hunter2@cache:6379/0")
    found = values(KINDS)
    assert value("db_url", found).value == "postgresql://vedette:***@db/v?passfile=***"
    assert value("redis_url", found).value == "rediss://:***@cache:6379/0"
    assert "hunter2" not in str([one.facts() for one in found])


def test_bad_values_are_told_as_at_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_LOG_LEVEL", "loud")
    with pytest.raises(BadParametersError, match=r"^VEDETTE_LOG_LEVEL: [^\n]*$"):
        values(KINDS)


def test_the_environment_of_another_process_stands_in_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_T1", "20")
    monkeypatch.setenv("VEDETTE_T2", "40")
    with parameters_of({"VEDETTE_T1": "30", "VEDETTE_T4": "50"}):
        found = values(KINDS)
        assert [value(name, found).value for name in ("t1", "t2", "t4")] == ["30", "4000", "50"]
    assert [os.environ.get(f"VEDETTE_{name}") for name in ("T1", "T2", "T4")] == ["20", "40", None]
