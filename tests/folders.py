"""Folders for embedded servers: open to the user that Postgres runs as where the tests run as root."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder(purpose: str) -> Iterator[Path]:
    """A new folder in /tmp that every user can pass, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix=f"vedette-{purpose}-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
