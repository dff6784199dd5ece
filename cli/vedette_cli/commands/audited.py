"""What commands change in the database stands in the audit log, as what is changed over REST does."""

import getpass
import os
from collections.abc import Mapping

from vedette.store import audit
from vedette_cli.commands.in_database import Connection


async def write_down(
    connection: Connection,
    operation: str,
    target: str,
    status: int,
    *,
    domain: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Write the entry in the transaction of the change. `operation` and `status` are those that REST has for it."""
    entry = audit.AuditEntry("command", _whoever(), operation, target, domain, detail or {})
    await audit.write(connection, entry, status)


def _whoever() -> str:
    """Who runs the command, as the system has it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
