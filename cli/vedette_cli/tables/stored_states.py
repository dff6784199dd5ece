"""What changes more often than entries in the cache: CSeq and status of dialogs, tags and ends of publications."""

from vedette.records import DialogRecord
from vedette.store.database import Database, StoreError
from vedette_cli.tables.rows import DialogState, PublicationState

STATUS = {1: "active", 2: "pending", 3: "terminated", 4: "waiting"}
"""The words for `active_watchers.status`."""

_STATES = """
SELECT w.dialog_id, w.remote_cseq, d.local_cseq, w.status
FROM unnest($1::int4[], $2::bytea[]) AS k (presentity_hash, dialog_id)
JOIN active_watchers AS w USING (presentity_hash, dialog_id)
LEFT JOIN delivery AS d USING (presentity_hash, dialog_id)
"""


_PUBLICATIONS = """
SELECT p.publication_id, p.sequence, extract(epoch FROM p.expires)::float8 AS expires,
    p.ended IS NULL AND p.expires > clock_timestamp() AS alive
FROM unnest($1::int4[], $2::bytea[]) AS k (presentity_hash, publication_id)
JOIN presentity AS p USING (presentity_hash, publication_id)
"""


class PostgresStates:
    """Asks Postgres, once for a page; after a failure no more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.failure: str | None = None
        """Why nothing is known any more."""

    async def states(self, dialogs: list[DialogRecord]) -> dict[bytes, DialogState]:
        """By dialog id; none for a dialog that is not known there, or where Postgres cannot be asked."""
        if self.failure is not None or not dialogs:
            return {}
        keys = [dialog.presentity_hash for dialog in dialogs], [dialog.dialog_id for dialog in dialogs]
        try:
            rows = await self._database.fetch(_STATES, *keys)
        except StoreError as error:
            self.failure = str(error)
            return {}
        return {
            row["dialog_id"]: DialogState(row["remote_cseq"], row["local_cseq"], STATUS[row["status"]])
            for row in rows
        }

    async def publications(self, keys: list[tuple[int, bytes]]) -> dict[bytes, PublicationState] | None:
        """Those of the publications (presentity hash, id) that are alive, by id; None without an answer."""
        if self.failure is not None:
            return None
        try:
            rows = await self._database.fetch(_PUBLICATIONS, [hash_ for hash_, _ in keys], [id_ for _, id_ in keys])
        except StoreError as error:
            self.failure = str(error)
            return None
        return {
            row["publication_id"]: PublicationState(row["sequence"], row["expires"]) for row in rows if row["alive"]
        }
