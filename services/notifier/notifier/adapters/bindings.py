"""The notifier's calls to the table of bindings."""

from datetime import timedelta

from vedette.store.database import Database


class BindingTable:
    """Every method is one call, and raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def follow(self, limit: int) -> tuple[int, bool]:
        """Move dialogs to where their clients have registered; how many, and whether there may be more."""
        [row] = await self._database.fetch("SELECT * FROM follow_bindings_v1($1)", limit)
        return row["moved"], bool(row["again"])

    async def sweep_bindings(self, age: float, limit: int) -> int:
        """Remove the bindings that have been over for `age` seconds; how many."""
        [row] = await self._database.fetch(
            "SELECT sweep_bindings_v1($1, $2) AS removed", timedelta(seconds=age), limit
        )
        return int(row["removed"])
