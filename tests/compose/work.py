"""Which replicas work, as Postgres sees it: who runs batches, who has NOTIFYs under way."""

import time
from collections import Counter
from dataclasses import dataclass

from tests.compose.engine import Project
from tests.wait import until

SPREAD_DEADLINE = 30.0
"""Seconds; "within seconds" is what is reported, this is when the test gives up."""

_AT_WORK = """
SELECT DISTINCT split_part(application_name, ' ', 3) FROM pg_stat_activity
WHERE application_name LIKE 'vedette presence-core %' AND query ~ '(publish|subscribe)_batch'
    AND query_start > clock_timestamp() - interval '1 second'
UNION
SELECT DISTINCT outstanding_notifier FROM delivery WHERE outstanding_notifier IS NOT NULL;
"""


async def replicas(project: Project, service: str) -> dict[str, str]:
    """The replicas of a service that are ready, as the REST API lists them: the container's host name by instance."""
    items = (await project.get("/api/v1/replicas")).get("items", [])
    return {item["instance"]: item["host"] for item in items if item["service"] == service and item["ready"]}


@dataclass(frozen=True)
class Spread:
    """That every replica works: how long it took, and in how many looks at Postgres each was at work."""

    seconds: float
    looks: int
    at_work: dict[str, list[int]]
    """By service, one number for each replica."""

    def __str__(self) -> str:
        shares = "; ".join(f"{service} {'/'.join(map(str, shares))}" for service, shares in self.at_work.items())
        return f"{shares} of {self.looks} looks"


async def until_all_work(project: Project, **counts: int) -> Spread:
    """Return when exactly so many replicas of each service are ready and every one has been seen at work."""
    services = {name.replace("_", "-"): count for name, count in counts.items()}
    seen: Counter[str] = Counter()
    at_work: dict[str, list[int]] = {}
    looks = 0
    began = time.monotonic()

    async def all_work() -> bool:
        nonlocal looks
        looks += 1
        seen.update(row[0] for row in await project.select(_AT_WORK))
        for service in services:
            at_work[service] = sorted(seen[instance] for instance in await replicas(project, service))
        return all(len(at_work[service]) == count and all(at_work[service]) for service, count in services.items())

    what = ", ".join(f"{count} of {service}" for service, count in services.items())
    try:
        await until(all_work, f"{what} are ready and at work", deadline=SPREAD_DEADLINE)
    except AssertionError:
        raise AssertionError(f"not within {SPREAD_DEADLINE:g} s: {what} ready and at work, but {at_work}") from None
    return Spread(round(time.monotonic() - began, 1), looks, at_work)
