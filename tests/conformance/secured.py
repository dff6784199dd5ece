"""A set that listens on every transport, on IPv4 and IPv6, with certificates of a test authority."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tests.certificates import Authority, Pair
from tests.folders import open_folder
from tests.running_set import RunningSet, started

HOSTS = ("127.0.0.1", "::1")
PORTS = ("--tls-port", "0", "--ws-port", "0", "--wss-port", "0")


class Secured:
    """The set, the authority that its clients trust, and the files that it reads."""

    def __init__(self, running: RunningSet, authority: Authority, files: Pair) -> None:
        self.running = running
        self.authority = authority
        self.files = files

    def replace(self, by: Pair) -> None:
        """Put another certificate in the place of the one in use."""
        _replace(self.files, by)


def _replace(files: Pair, by: Pair) -> None:
    for path, new in ((files.certificate, by.certificate), (files.key, by.key)):
        beside = path.with_suffix(".new")
        shutil.copy(new, beside)
        beside.replace(path)


@contextlib.asynccontextmanager
async def secured(*arguments: str, extra: dict[str, str] | None = None) -> AsyncIterator[Secured]:
    """Start it; `arguments` and `extra` as `started` has them."""
    with open_folder("tls") as folder:
        authority = Authority(Path(folder))
        files = Pair(folder / "in_use.pem", folder / "in_use.key")
        _replace(files, authority.issue("server", *HOSTS))
        certificate = ("--tls-certificate", str(files.certificate), "--tls-key", str(files.key))
        async with started(
            "--cores", "1", "--host", ",".join(HOSTS), *PORTS, *certificate, *arguments, extra=extra
        ) as running:
            running.ca = authority.file
            yield Secured(running, authority, files)
