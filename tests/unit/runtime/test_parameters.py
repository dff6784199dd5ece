"""What is told of a parameter: its type, its unit, what is allowed, whether it has an effect."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from vedette.runtime.parameters import LATER, ORIGINAL, About, Parameter, masked, parameters, place, remarks


class Sample(BaseModel):
    """One field of each sort."""

    port: Annotated[int, Field(ge=0, le=9), About("port")] = Field(5, description="A port.")
    above: Annotated[int, Field(ge=1)] = 1
    below: Annotated[int, Field(le=7)] = 1
    any_number: int = -1
    level: Literal["low", "mid", "high"] = "low"
    switch: Literal[0, 1] = 0
    yes: bool = False
    file: Path | None = None
    tag: Annotated[str, Field(pattern="^a*$")] = ""
    worded: Annotated[str, Field(pattern="^b*$"), About(allowed="some b")] = ""
    idle: Annotated[int, About(without_effect="Nobody reads it.")] = Field(3, description="Nothing.")
    period: Annotated[int, About("seconds", only_with=("switch", 1))] = Field(100, description="A period.")
    max_expires: int = 3600


class Other(BaseModel):
    """Another service, which has two of them."""

    port: Annotated[int, Field(ge=0, le=9), About("port")] = Field(5, description="A port.")
    yes: bool = True


def listed(name: str) -> list[Parameter]:
    return [one for one in parameters({"sample": Sample, "other": Other}) if one.name == name]


@pytest.mark.parametrize(
    ("name", "kind", "allowed", "default"),
    [
        ("port", "number", "a whole number from 0 to 9", "5"),
        ("above", "number", "a whole number from 1", "1"),
        ("below", "number", "a whole number up to 7", "1"),
        ("any_number", "number", "a whole number", "-1"),
        ("level", "choice", "'low', 'mid' or 'high'", "low"),
        ("switch", "number", "0 or 1", "0"),
        ("file", "file", "a path", ""),
        ("tag", "text", "text that matches ^a*$", ""),
        ("worded", "text", "some b", ""),
    ],
)
def test_type_and_what_is_allowed_are_told(name: str, kind: str, allowed: str, default: str) -> None:
    (one,) = listed(name)
    assert (one.type, one.allowed, one.default) == (kind, allowed, default)


def test_what_says_the_same_in_two_services_comes_once_and_what_differs_twice() -> None:
    assert [(one.services, one.unit, one.environment) for one in listed("port")] == [
        (("sample", "other"), "port", "VEDETTE_PORT")
    ]
    assert [(one.services, one.default, one.type) for one in listed("yes")] == [
        (("sample",), "false", "yes or no"),
        (("other",), "true", "yes or no"),
    ]


def test_the_modules_own_come_first() -> None:
    names = [one.name for one in parameters({"sample": Sample})]
    assert names[:2] == ["max_expires", "port"]
    assert [place(name) for name in (*ORIGINAL, *LATER)] == list(range(28))
    assert place("port") == 28
    assert [listed("max_expires")[0].origin, listed("port")[0].origin] == ["original", "vedette"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Sample(), []),
        (Sample(port=6), []),
        (Sample(idle=4), [("idle", "Nobody reads it.")]),
        (Sample(period=50), [("period", "It acts only with switch=1.")]),
        (Sample(period=50, switch=1), []),
        (Sample(switch=1), []),
    ],
)
def test_what_was_set_and_has_no_effect_is_remarked(settings: Sample, told: list[tuple[str, str]]) -> None:
    assert remarks(settings) == told


def test_the_page_says_with_what_a_parameter_acts() -> None:
    assert listed("period")[0].meaning == "A period. It acts only with switch=1."


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u@db/v", "postgresql://u@db/v"),
        ("postgresql://u:p%40x@db:5433/v?sslmode=require", "postgresql://u:***@db:5433/v?sslmode=require"),
        (
            "postgresql://u@/v?host=/run&password=p&passfile=f",
            "postgresql://u@/v?host=/run&password=***&passfile=***",
        ),
        ("redis://:p@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://u:p@h@x/0", "redis://u:***@x/0"),
        ("redis://u:p/w@x/0", "redis://u:***@x/0"),
        ("redis://u:p?w@x/0", "***"),
        ("u:p@db", "***"),
        ("db.example", "db.example"),
        ("redis://[p", "***"),
    ],
)
def test_sec_06_no_password_is_left_in_a_url(url: str, told: str) -> None:
    assert masked(url) == told
