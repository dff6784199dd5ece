"""Disks."""

import shutil
from pathlib import Path

from vedette_cli.doctor.finding import Finding, failure, warning, well

SCARCE, GONE = 2 * 2**30, 256 * 2**20


def check_disk(folder: Path) -> list[Finding]:
    """Whether the disk of the data folder has space left."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return [warning("disk", f"cannot look at {folder}: {error.strerror}", "Name the data folder with --data.")]
    return [judge(folder, usage.free, usage.total)]


def judge(folder: Path, free: int, total: int) -> Finding:
    """What is said of so many free octets."""
    text = f"{free // 2**20} MiB of {total // 2**20} MiB are free where {folder} is"
    if free < GONE:
        return failure("disk", text, "Make space: Postgres stops when its disk is full.")
    if free < SCARCE:
        return warning("disk", text, "Make space before Postgres stops; logs and old WAL are the usual cause.")
    return well("disk", text)
