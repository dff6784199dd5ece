"""The user that the embedded servers run as: Postgres refuses to run as root."""

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from vedette_cli.supervisor.folders import SetupError

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class RunAs:
    """Another user, or nobody else (`uid` None) where we are no root."""

    uid: int | None
    gid: int | None
    name: str

    def own(self, path: Path) -> None:
        """Give a folder to that user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def choose_user() -> RunAs:
    """Who runs the servers: ourselves, or where we are root an unprivileged user. Raises SetupError."""
    if os.getuid() != 0:
        return RunAs(None, None, pwd.getpwuid(os.getuid()).pw_name)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return RunAs(entry.pw_uid, entry.pw_gid, name)
    raise SetupError("running as root, but there is no user postgres or nobody that Postgres could run as")


def closed_parent(path: Path, user: RunAs) -> Path | None:
    """The first folder on the way to `path` that the user cannot pass, None where the way is open."""
    if user.uid is None:
        return None
    resolved = path.resolve()
    for folder in reversed([resolved, *resolved.parents]):
        try:
            facts = folder.stat()
        except OSError:
            return None
        bit = stat.S_IXUSR if facts.st_uid == user.uid else stat.S_IXGRP if facts.st_gid == user.gid else stat.S_IXOTH
        if not facts.st_mode & bit:
            return folder
    return None


def require_open_way(path: Path, user: RunAs) -> None:
    """Raise SetupError, with what to do, where the user cannot reach the folder."""
    closed = closed_parent(path, user)
    if closed is not None:
        raise SetupError(
            f"Postgres runs as the user {user.name}, who cannot pass {closed} on the way to {path}. "
            "Choose a folder that is open to all with --data, like --data /var/lib/vedette"
        )


def reachable(programs: Path, beside: list[Path], copies: Path, user: RunAs) -> Path:
    """The folder with the programs, or a copy that the user can reach.

    `beside` are folders next to it that the programs need (their libraries); copies keep the names, since libraries
    are found by a relative path. Raises SetupError where they cannot be copied.
    """
    if closed_parent(programs, user) is None and all(closed_parent(path, user) is None for path in beside):
        return programs
    common = Path(os.path.commonpath([programs, *beside]))
    target = copies / programs.relative_to(common)
    try:
        for source in (programs, *beside):
            destination = copies / source.relative_to(common)
            if not destination.exists():
                partial = destination.with_name(destination.name + ".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(source, partial, symlinks=True)
                partial.rename(destination)
    except OSError as error:
        raise SetupError(f"cannot copy {programs} to {copies}: {error.strerror}") from None
    return target
