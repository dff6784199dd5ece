"""Finding the processes of a service."""

import socket
from pathlib import Path

import pytest

from vedette.rpc.discovery import Discovery


@pytest.mark.parametrize(
    ("specification", "found"),
    [
        ("", set()),
        (" , ,", set()),
        ("127.0.0.1:8070", {"127.0.0.1:8070"}),
        (" 127.0.0.1:8070 , 127.0.0.2:8071 ", {"127.0.0.1:8070", "127.0.0.2:8071"}),
        ("127.0.0.1:8070,127.0.0.1:8070", {"127.0.0.1:8070"}),
        ("[::1]:8070", {"[::1]:8070"}),
        ("no-such-host.invalid:8070", set()),
        ("no-such-host.invalid:8070,127.0.0.1:8070", {"127.0.0.1:8070"}),
        ("127.0.0.1", set()),
        ("127.0.0.1:", set()),
        ("127.0.0.1:port", set()),
        ("a..b:1", set()),
        ("x" * 300 + ":1", set()),
    ],
)
async def test_addresses_are_those_that_can_be_found_out(specification: str, found: set[str]) -> None:
    assert await Discovery(specification).addresses() == found


async def test_a_name_stands_for_all_its_addresses() -> None:
    infos = socket.getaddrinfo("localhost", 8070, type=socket.SOCK_STREAM)
    wanted = {f"[{info[4][0]}]:8070" if info[0] == socket.AF_INET6 else f"{info[4][0]}:8070" for info in infos}
    assert await Discovery("localhost:8070").addresses() == wanted


async def test_a_name_that_cannot_be_looked_up_now_stands_for_what_it_stood_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    discovery = Discovery("127.0.0.1:1")
    assert await discovery.addresses() == {"127.0.0.1:1"}

    async def no_answer(_: str) -> set[str] | None:
        return None

    monkeypatch.setattr("vedette.rpc.discovery._resolve", no_answer)
    assert await discovery.addresses() == {"127.0.0.1:1"}
    assert await Discovery("127.0.0.1:1").addresses() == set()


async def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    discovery = Discovery(f"@{path},127.0.0.9:1")
    assert await discovery.addresses() == {"127.0.0.9:1"}
    path.write_text("127.0.0.1:8070\n\n  127.0.0.2:8071  \n127.0.0.1:8070\n")
    assert await discovery.addresses() == {"127.0.0.1:8070", "127.0.0.2:8071", "127.0.0.9:1"}
    path.write_text("")
    assert await discovery.addresses() == {"127.0.0.9:1"}
    path.write_text("127.0.0.3:1")
    assert await discovery.addresses() == {"127.0.0.3:1", "127.0.0.9:1"}
    path.unlink()
    assert await discovery.addresses() == {"127.0.0.9:1"}


async def test_a_file_that_is_not_text_or_a_folder_finds_nobody(tmp_path: Path) -> None:
    assert await Discovery(f"@{tmp_path}").addresses() == set()
    path = tmp_path / "peers"
    path.write_bytes(b"\xff\xfe")
    assert await Discovery(f"@{path}").addresses() == set()
