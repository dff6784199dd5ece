"""Where sockets lie: below the data folder, or in a folder of /tmp that nobody else made."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vedette_cli.supervisor.folders import LONGEST_SOCKET_PATH, Folders, open_data_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the folders take for /tmp."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["data", "a-b_c.d"])
def test_sockets_lie_below_the_data_folder(name: str) -> None:
    folders = Folders(Path("/srv") / name)
    assert folders.sockets == Path("/srv") / name / "sockets"
    assert folders.control == Path("/srv") / name / "sockets-own" / "control"


@pytest.mark.parametrize("name", ["d" * 100, "a b", "a+b", "a&b", "a#b", "a,b", "a%b", "\u00e4"])
def test_sockets_lie_elsewhere_where_the_path_is_too_long_or_needs_quotes(temporary: Path, name: str) -> None:
    folders = Folders(Path("/srv") / name)
    assert folders.sockets.is_relative_to(temporary)
    assert folders.control.is_relative_to(temporary)
    assert len(os.fsencode(folders.sockets.relative_to(temporary))) + len("/tmp/.s.PGSQL.5432.lock") < (
        LONGEST_SOCKET_PATH
    )


def _link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    path.symlink_to(elsewhere)


def _wide(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _somebody_elses(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)


def _file(path: Path) -> None:
    path.write_text("")


TRAPS = [_link, _wide, _file, *([_somebody_elses] if os.getuid() == 0 else [])]


@pytest.mark.parametrize("trap", TRAPS)
def test_what_somebody_else_put_there_is_not_used(
    temporary: Path, tmp_path: Path, trap: Callable[[Path], None]
) -> None:
    data = tmp_path / "a b"
    first = Folders(data).sockets.parent
    trap(first)
    folders, lock = open_data_folder(data)
    os.close(lock)
    home = folders.sockets.parent
    assert home.parent == temporary
    assert home != first
    assert (home.stat().st_uid, home.stat().st_mode & 0o066, home.is_symlink()) == (os.getuid(), 0, False)
    assert folders.run_sockets.stat().st_mode & 0o777 == 0o700
    assert Folders(data).control == folders.control


def test_a_folder_of_ours_is_used_again(temporary: Path, tmp_path: Path) -> None:
    data = tmp_path / "a b"
    homes = set()
    for _ in range(2):
        folders, lock = open_data_folder(data)
        os.close(lock)
        homes.add(folders.sockets.parent)
    assert list(temporary.iterdir()) == list(homes)
