"""Documents of other projects' publishers, published to a running set: taken or refused as their index says.

Those of presence are in test_pub_refusals.py. Templates have placeholders where their project puts values, so nobody
sends them as they are; tests/unit/documents fills them in.
"""

import asyncio

import pytest

from tests.conformance.observed import publications
from tests.phone import Phone
from tests.running_set import RunningSet
from tests.unit.documents.schemas import dialog_info_faults
from tests.unit.documents.test_message_summary import NO_SUMMARIES
from tests.vectors import Vector, needs_vectors, vectors

TYPES = {"dialog": "application/dialog-info+xml", "message-summary": "application/simple-message-summary"}
FOLDERS = {"dialog": "body/dialog-info", "message-summary": "body/message-summary"}


def wanted(vector: Vector) -> set[int]:
    """The statuses that will do."""
    if vector.path in NO_SUMMARIES:
        return {400}
    return {200 if outcome == "accept" else int(outcome.removeprefix("reject:")) for outcome in vector.expected}


@needs_vectors
@pytest.mark.parametrize("event", TYPES)
async def test_pub_32_pub_33_documents_of_real_publishers_are_taken_and_broken_ones_are_not(
    running_set: RunningSet, tcp_phone: Phone, event: str
) -> None:
    documents = [v for v in vectors(FOLDERS[event]) if v.expected != ["template"] and b"{}" not in v.data]
    assert len(documents) > 10

    async def send(number: int, vector: Vector) -> int:
        aor = f"sip:{tcp_phone.user}-{number}@example.com"
        response = await tcp_phone.request(
            tcp_phone.publish(aor, event=event, content_type=TYPES[event], body=vector.data, expires=600)
        )
        assert response.status in wanted(vector), (str(vector), response.start)
        if response.status != 200:
            assert await publications(running_set, aor, event) == []
            return response.status
        shown = (await running_set.get(f"/api/v1/presentities/{aor}", event=event))["document"]
        assert shown.startswith("Messages-Waiting: ") or dialog_info_faults(shown.encode()) == []
        return response.status

    statuses = await asyncio.gather(*(send(number, vector) for number, vector in enumerate(documents)))
    assert statuses.count(200) > 10
