"""Where a set on one machine keeps its things."""

import errno
import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST_SOCKET_PATH = 107
"""Octets; `sun_path` of a unix socket."""
_LONGEST_NAME = len("/.s.PGSQL.5432.lock")
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
"""A path that needs no quotes in a list of folders, in a URL or in a DSN."""
_MOST_CANDIDATES = 1000


class SetupError(Exception):
    """The set cannot start; the text is for a person and says what to do."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The paths under `--data`."""

    data: Path

    @property
    def postgres(self) -> Path:
        """The cluster of the embedded Postgres."""
        return self.data / "postgres"

    @property
    def redis(self) -> Path:
        """The working folder of the embedded Redis."""
        return self.data / "redis"

    @property
    def secrets(self) -> Path:
        """RPC token and database password."""
        return self.data / "secrets"

    @property
    def tls(self) -> Path:
        """The certificate that the set makes for itself."""
        return self.data / "tls"

    @property
    def run(self) -> Path:
        """The lists of peers."""
        return self.data / "run"

    @property
    def logs(self) -> Path:
        """What each process writes."""
        return self.data / "log"

    @property
    def binaries(self) -> Path:
        """Copies of the embedded servers' programs, where the originals cannot be reached."""
        return self.data / "bin"

    @property
    def sockets(self) -> Path:
        """Unix sockets of the servers."""
        return self._socket_home / "sockets"

    @property
    def control(self) -> Path:
        """The socket that `vedette status` and `vedette scale` speak to."""
        return self.run_sockets / "control"

    @property
    def run_sockets(self) -> Path:
        """Where our own socket lies: not with those of the servers, whose folder may belong to another user."""
        return self._socket_home / "sockets-own"

    @property
    def _socket_home(self) -> Path:
        """The data folder, or one of ours in /tmp where the path of a socket would be too long or need quotes."""
        near = self.data / "sockets"
        if len(os.fsencode(near)) + _LONGEST_NAME <= LONGEST_SOCKET_PATH and _PLAIN.fullmatch(str(near)):
            return self.data
        candidates = list(_far_candidates(self.data))
        ours = (path for path in candidates if _is_ours(path))
        return next(ours, candidates[0])

    def make_socket_home(self) -> None:
        """Make it where it is in /tmp, where others may have put something of that name. Raises OSError."""
        if self._socket_home == self.data:
            return
        for path in _far_candidates(self.data):
            try:
                path.mkdir(mode=_FAR_MODE)
            except FileExistsError:
                if not _is_ours(path):
                    continue
            else:
                path.chmod(_FAR_MODE)  # whatever the umask
            return
        raise FileExistsError(errno.EEXIST, "no name for a folder of sockets is free")


_FAR_MODE = 0o700 if os.getuid() != 0 else 0o711
"""Root's servers run as another user, who has to pass."""


def _far_candidates(data: Path) -> Iterator[Path]:
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    first = Path(tempfile.gettempdir()) / f"vedette-{os.getuid()}-{name}"
    yield first
    for number in range(1, _MOST_CANDIDATES):
        yield first.with_name(f"{first.name}-{number}")


def _is_ours(path: Path) -> bool:
    """Whether it is a folder that only we can write to: no link, and made as we make it."""
    try:
        facts = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and stat.S_IMODE(facts.st_mode) == _FAR_MODE


def open_data_folder(path: Path) -> tuple[Folders, int]:
    """The folders, made where they are missing, and a lock that holds until the process ends.

    Raises SetupError where a folder cannot be written or another set runs on the same data.
    """
    folders = Folders(path.absolute())
    try:
        for folder in (folders.data, folders.run, folders.logs):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        folders.make_socket_home()
        folders.run_sockets.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folders.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SetupError(
            f"cannot write to {folders.data}: {error.strerror}. Choose another folder with --data"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SetupError(
            f"a set is running on {folders.data} already. Stop it, or choose another folder with --data"
        ) from None
    return folders, lock
