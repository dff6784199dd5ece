"""Clocks: how far those of the servers are from this machine's."""

import http.client
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Any

from vedette_cli.doctor.finding import Finding, failure, warning, well

NOTICED, HARMFUL = 3.0, 30.0
"""Seconds. Rows carry the time of Postgres; clients count Expires by their own. Date of HTTP has whole seconds."""
PATIENCE = 2.0


def check_clocks(differences: Mapping[str, float]) -> list[Finding]:
    """What is said of them: `differences` in seconds, ahead of this machine where positive."""
    found: list[Finding] = []
    for whose, difference in differences.items():
        if abs(difference) > NOTICED:
            kind = failure if abs(difference) > HARMFUL else warning
            words = (
                f"the clock of {whose} is {abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} ours"
            )
            found.append(
                kind("clocks", words, "Have NTP set the clocks of all machines (chrony, systemd-timesyncd).")
            )
    if found or not differences:
        return found
    return [well("clocks", f"{', '.join(differences)} and this machine agree within {NOTICED:g} s")]


def clocks_of_replicas(replicas: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How far the clock of each machine with processes is ahead of ours, as far as one of them answers."""
    found: dict[str, float] = {}
    for replica in replicas:
        name = f"the host {replica['host']}"
        if name not in found:
            host, _, port = str(replica["address"]).rpartition(":")
            date = _date_at(host.strip("[]"), port)
            if date is not None:
                # whoever wrote a whole second meant any time within it
                found[name] = date + 0.5 - time.time()
    return found


def _date_at(host: str, port: str) -> float | None:
    try:
        with closing(http.client.HTTPConnection(host, int(port), timeout=PATIENCE)) as connection:
            connection.request("GET", "/")
            return parsedate_to_datetime(connection.getresponse().headers["Date"]).timestamp()
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return None
