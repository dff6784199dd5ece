"""What `vedette ban` refuses before it asks the database."""

import pytest
from typer.testing import CliRunner

from vedette_cli.commands.ban import _seconds, _source
from vedette_cli.main import app


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("2001:db8:0:1::/64", "2001:db8:0:1::/64"),
    ],
)
def test_a_source_is_what_edges_count_by(address: str, source: str) -> None:
    assert _source(address) == source


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)]
)
def test_times_are_written_with_a_unit(text: str, seconds: int) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "example.com"], "no IP address"),
        (["add", "192.0.2.0/24"], "a firewall keeps networks out"),
        (["add", "2001:db8::/48"], "a firewall keeps networks out"),
        (["remove", "192.0.2.1/24"], "no IP address"),
        (["add", "192.0.2.1", "--for", "soon"], "--for soon"),
        (["add", "192.0.2.1", "--for", "0s"], "--for 0s"),
        (["add", "192.0.2.1", "--for", "9999d"], "up to 3650d"),
        (["add", "192.0.2.1", "--reason", "a\nb"], "--reason"),
    ],
)
def test_what_is_no_source_or_time_is_told(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["ban", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
