"""What was released before: `migrations/released.toml`, and the code of a release, from the history."""

import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.vectors import ROOT

RELEASED = ROOT / "migrations" / "released.toml"
MEMBERS = ("shared", "cli", "services/sip-edge", "services/presence-core", "services/notifier")


@dataclass(frozen=True)
class Release:
    """A version, the commit of its code, the number of its last migration."""

    version: str
    commit: str
    schema: int


def releases() -> list[Release]:
    """All releases, in order."""
    entries = tomllib.loads(RELEASED.read_text(encoding="utf-8"))["release"]
    return [Release(entry["version"], entry["commit"], entry["schema"]) for entry in entries]


def released_migrations() -> dict[str, str]:
    """SHA-256 of the text of each migration that was released, by the name of its file."""
    found: dict[str, str] = tomllib.loads(RELEASED.read_text(encoding="utf-8"))["sha256"]
    return found


def why_not_there(release: Release) -> str:
    """Why the code of a release cannot be had here: a tarball, a shallow clone; "" where it can."""
    try:
        found = _git("cat-file", "-e", f"{release.commit}^{{commit}}")
    except FileNotFoundError:
        return "there is no git here, and the code of the last release is in the history"
    if found.returncode:
        said = found.stderr.decode().strip()
        return f"commit {release.commit[:7]} of release {release.version} is not in this history ({said})"
    return ""


def unpack(release: Release, folder: Path) -> list[Path]:
    """Write the code of a release into a folder; the folders to put in front of Python's path."""
    archive = _git("archive", release.commit, "migrations", *MEMBERS)
    assert archive.returncode == 0, archive.stderr.decode()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return [folder / member for member in MEMBERS]


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
