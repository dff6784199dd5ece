"""The lists by which services find each other: under any path, and written once they can be."""

import shutil
from pathlib import Path

import pytest

from vedette.rpc.discovery import Discovery
from vedette_cli.supervisor.peer_lists import PeerLists


@pytest.mark.parametrize("name", ["run", "a+b", "a&b", "a#b", "a,b", "a%41b", "a b", " ", "@"])
async def test_discovery_reads_a_list_under_any_path(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    lists = PeerLists(folder)
    lists.put("core", 0, "127.0.0.1:1")
    lists.put("core", 1, "127.0.0.1:2")
    lists.remove("core", 0)
    assert await Discovery(lists.specification("core")).addresses() == {"127.0.0.1:2"}


async def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    lists = PeerLists(folder)
    discovery = Discovery(lists.specification("core"))
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        lists.put("core", 0, "127.0.0.1:1")
    with pytest.raises(FileNotFoundError):
        lists.write_again()
    assert await discovery.addresses() == set()
    folder.mkdir()
    lists.write_again()
    assert await discovery.addresses() == {"127.0.0.1:1"}
    lists.path("core").unlink()
    lists.write_again()
    assert not lists.path("core").exists()
