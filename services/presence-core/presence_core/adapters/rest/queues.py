"""Queues: what is waiting, and for how long."""

from pydantic import BaseModel, Field

from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.parts import Parts
from vedette.store.api_tokens import Role

_DEPTHS = """
SELECT
    (SELECT count(*) FROM change_event) AS changes,
    (SELECT count(*) FROM change_event AS c WHERE c.due <= clock_timestamp()) AS due,
    (SELECT extract(epoch FROM clock_timestamp() - min(c.due))::float8 FROM change_event AS c
     WHERE c.due <= clock_timestamp()) AS oldest,
    n.outstanding, n.overtime, n.unreachable,
    (SELECT count(*) FROM presentity AS p WHERE p.ended IS NULL
        AND p.expires <= clock_timestamp() - interval '2 seconds') AS publications,
    (SELECT count(*) FROM active_watchers AS w WHERE w.ended IS NULL
        AND w.expires <= clock_timestamp() - interval '2 seconds') AS subscriptions
-- All dialogs are looked at, once for the three counts.
FROM (
    SELECT count(*) FILTER (WHERE d.outstanding_cseq IS NOT NULL) AS outstanding,
        count(*) FILTER (
            WHERE d.outstanding_cseq IS NOT NULL AND d.outstanding_until <= clock_timestamp()
        ) AS overtime,
        count(*) FILTER (WHERE d.edge_instance IS NULL) AS unreachable
    FROM delivery AS d
) AS n
"""


class QueueView(BaseModel):
    """What is waiting now."""

    changes: int = Field(description="Change events: who may owe a NOTIFY, also those that wait for their time.")
    changes_due: int
    oldest_due: float = Field(description="Seconds that the oldest of them is overdue; 0 without any.")
    notifies_outstanding: int = Field(description="NOTIFYs without an answer yet.")
    notifies_overtime: int = Field(description="Of these, those whose time is over.")
    watchers_unreachable: int = Field(description="Dialogs that owe a NOTIFY until their watcher subscribes again.")
    publications_overdue: int = Field(description="Expired for two seconds or more, and not ended.")
    subscriptions_overdue: int
    of_last_flush: bool = Field(
        description="Whether what is said of NOTIFYs, watchers and subscriptions is of the last db_update_period."
    )


def add_queues(operations: Operations, parts: Parts) -> None:
    """Add the operation."""

    @operations.add(
        "GET",
        "/queues",
        tag="system",
        role=Role.READER,
        whole_system=True,
        example={
            "changes": 3,
            "changes_due": 2,
            "oldest_due": 0.04,
            "notifies_outstanding": 17,
            "notifies_overtime": 0,
            "watchers_unreachable": 1,
            "publications_overdue": 0,
            "subscriptions_overdue": 0,
            "of_last_flush": False,
        },
    )
    async def show_queues() -> QueueView:
        """Show what is waiting: changes to tell, NOTIFYs without an answer, what should have ended."""
        current = await parts.know_dialogs()
        (row,) = await parts.database.fetch(_DEPTHS)
        return QueueView(
            changes=row["changes"],
            changes_due=row["due"],
            oldest_due=row["oldest"] or 0.0,
            notifies_outstanding=row["outstanding"],
            notifies_overtime=row["overtime"],
            watchers_unreachable=row["unreachable"],
            publications_overdue=row["publications"],
            subscriptions_overdue=row["subscriptions"],
            of_last_flush=not current,
        )
