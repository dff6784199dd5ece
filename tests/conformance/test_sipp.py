"""SIPp, a SIP client that nobody here has written: hundreds of whole lives of publications and subscriptions."""

from pathlib import Path

import pytest

from tests.conformance.observed import publications, subscriptions
from tests.conformance.sipp_calls import DIALOG, DIALOG_SLA, MESSAGE_SUMMARY, PRESENCE, Package, run_sipp
from tests.phone import token
from tests.running_set import RunningSet

CALLS = 300


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("scenario", "package"),
    [
        ("publish", PRESENCE),
        ("watch", PRESENCE),
        ("watch", MESSAGE_SUMMARY),
        ("watch", DIALOG),
        ("watch", DIALOG_SLA),
    ],
    ids=["publish", "watch", "watch message-summary", "watch dialog", "watch dialog;sla"],
)
async def test_hundreds_of_calls_of_sipp_end_well(
    running_set: RunningSet, tmp_path: Path, scenario: str, package: Package, transport: str
) -> None:
    run = token(f"sipp-{transport}-")
    await run_sipp(running_set.sip, tmp_path, scenario, package, transport=transport, run=run, calls=CALLS)
    left = 0 if scenario == "publish" else 1
    for number in (1, CALLS):
        uri = f"sip:{run}-{number}@example.com"
        assert len(await publications(running_set, uri, package.event)) == left
        assert await subscriptions(running_set, uri) == []
