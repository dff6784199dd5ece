"""Where a set on one machine keeps its things."""

import fcntl
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

LONGEST_SOCKET_PATH = 107
"""Octets; `sun_path` of a unix socket."""
_LONGEST_NAME = len("/.s.PGSQL.5432.lock")


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
        """Unix sockets: below the data folder, or in /tmp where that path would be too long."""
        near = self.data / "sockets"
        if len(os.fsencode(near)) + _LONGEST_NAME <= LONGEST_SOCKET_PATH:
            return near
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"vedette-{os.getuid()}-{name}"

    @property
    def control(self) -> Path:
        """The socket that `vedette status` and `vedette scale` speak to."""
        return self.run_sockets / "control"

    @property
    def run_sockets(self) -> Path:
        """Where our own socket lies: not with those of the servers, whose folder may belong to another user."""
        return self.sockets.with_name(self.sockets.name + "-own")


def open_data_folder(path: Path) -> tuple[Folders, int]:
    """The folders, made where they are missing, and a lock that holds until the process ends.

    Raises SetupError where a folder cannot be written or another set runs on the same data.
    """
    folders = Folders(path.absolute())
    try:
        for folder, mode in (
            (folders.data, 0o755),
            (folders.run, 0o755),
            (folders.logs, 0o755),
            (folders.run_sockets, 0o700),
        ):
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
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
