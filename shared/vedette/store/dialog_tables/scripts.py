"""The scripts, each atomic on one bucket: they share a prelude and know the rows by the names of their fields."""

from pathlib import Path

import msgspec

from vedette.store.dialog_tables.rows import DeliveryRow, DialogRow
from vedette.store.redis_link import Script

CSEQ_MARGIN = 10_000
"""How far the CSeq of a dialog may be ahead of the one that Postgres has, and so by how much a reload raises it."""

_FOLDER = Path(__file__).parent / "lua"


def _positions(kind: type[msgspec.Struct]) -> str:
    return ", ".join(f"{name} = {index}" for index, name in enumerate(kind.__struct_fields__, 1))


def _values(row: msgspec.Struct) -> str:
    values = (getattr(row, name) for name in row.__struct_fields__)
    return ", ".join(f"'{value}'" if isinstance(value, str) else f"{value:g}" for value in values)


_NEW_DELIVERY = DeliveryRow(
    status=1, revision=1, local_cseq=0, kept_cseq=0, version=-1, edge_instance="", transport=""
)
_PRELUDE = "\n".join(
    (
        f"local D = {{{_positions(DialogRow)}}}",
        f"local Y = {{{_positions(DeliveryRow)}}}",
        f"local NEW_DELIVERY = {{{_values(_NEW_DELIVERY)}}}",
        f"local MARGIN = {CSEQ_MARGIN}",
        (_FOLDER / "prelude.lua").read_text(encoding="ascii"),
    )
)
_LOADED = (_FOLDER / "loaded.lua").read_text(encoding="ascii")


def _script(name: str, *, needs_load: bool = True) -> Script:
    body = (_FOLDER / f"{name}.lua").read_text(encoding="ascii")
    return Script("\n".join((_PRELUDE, _LOADED if needs_load else "", body)))


SUBSCRIBE = _script("subscribe")
SENDERS = _script("senders")
DUE = _script("due")
MARK = _script("mark")
SETTLE = _script("settle")
DECIDE = _script("decide")
CLEAR_MARKS = _script("clear_marks")
MARKS_OF = _script("marks_of")
REHOME = _script("rehome")
DATAGRAM_DIALOGS = _script("datagram_dialogs")
WATCHERS = _script("watchers")
EXPIRE = _script("expire")
SWEEP = _script("sweep")
NOTIFY_AGAIN = _script("notify_again")
TERMINATE = _script("terminate")
CHANGES = _script("changes")
KEPT = _script("kept")
READ = _script("read")
LOAD = _script("load", needs_load=False)

WATCHER = Script((_FOLDER / "watcher.lua").read_text(encoding="ascii"))
"""Not of a bucket: the dialogs of one watcher, whatever they watch."""
AGENDA = Script((_FOLDER / "agenda.lua").read_text(encoding="ascii"))
"""Not of a bucket: which buckets are to be looked at, and when."""
