"""The token that the services show each other."""

import hmac
from pathlib import Path

import pytest

from vedette.rpc.token import RpcToken

CURRENT, PREVIOUS = "c" * 32, "p" * 32


@pytest.mark.parametrize(
    ("shown", "accepted"),
    [
        (f"Bearer {CURRENT}", True),
        (f"Bearer {PREVIOUS}", True),
        ("", False),
        ("Bearer ", False),
        ("Bearer", False),
        (f"Bearer {CURRENT[:-1]}", False),
        (f"Bearer {CURRENT}c", False),
        (f"Bearer {CURRENT[:-1]}C", False),
        (f"Bearer  {CURRENT}", False),
        (f"Basic {CURRENT}", False),
        (f"Bearer {CURRENT}, Bearer {CURRENT}", False),
        ("Bearer ü" + CURRENT, False),
        ("Bearer \udcff", False),
    ],
)
def test_only_the_current_and_the_previous_token_are_accepted(shown: str, accepted: bool) -> None:  # noqa: FBT001
    assert RpcToken(CURRENT, PREVIOUS).accepts(shown) is accepted


def test_without_a_previous_token_only_the_current_one_is_accepted() -> None:
    token = RpcToken(CURRENT)
    assert token.accepts(f"Bearer {CURRENT}")
    assert not token.accepts("Bearer ")
    assert not token.accepts("Bearer None")
    assert not token.accepts(f"Bearer {PREVIOUS}")


@pytest.mark.parametrize("shown", [CURRENT, PREVIOUS, "", "c", "x" * 32])
def test_every_token_is_compared_in_constant_time_whether_or_not_another_matched(
    shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[object] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return original(one, other)

    original = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    RpcToken(CURRENT, PREVIOUS).accepts(f"Bearer {shown}")
    assert compared == [CURRENT.encode(), PREVIOUS.encode()]


def test_the_token_is_read_from_its_file_and_the_previous_one_from_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "rpc_token"
    path.write_text(f" {CURRENT}\n")
    assert RpcToken.from_file(path).current == CURRENT
    assert not RpcToken.from_file(path).accepts(f"Bearer {PREVIOUS}")
    (tmp_path / "rpc_token.previous").write_text(f"{PREVIOUS}\n")
    assert RpcToken.from_file(path).accepts(f"Bearer {PREVIOUS}")


@pytest.mark.parametrize("text", ["", "\n", "c" * 15])
def test_a_token_that_is_too_short_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rpc_token"
    path.write_text(text)
    with pytest.raises(ValueError, match="shorter than 16 characters"):
        RpcToken.from_file(path)


def test_a_missing_file_is_an_os_error_and_one_that_is_not_ascii_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RpcToken.from_file(tmp_path / "rpc_token")
    (tmp_path / "rpc_token").write_bytes(b"\xff" * 32)
    with pytest.raises(ValueError, match="ascii"):
        RpcToken.from_file(tmp_path / "rpc_token")
