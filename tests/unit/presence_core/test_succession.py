"""What a PUBLISH makes of the state before it (rows DLI-15, DLI-16, DLI-23)."""

from dataclasses import replace

import pytest

from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand, plan_publish
from presence_core.domain.refusals import UNAVAILABLE
from presence_core.domain.succession import Held, needs_held, succeed
from tests.dialog_info import TYPE, call, dialogs, read
from tests.integration.calls import publish
from vedette.identity import entity_tag
from vedette.rpc.contract import Reply

POLICY = Policy(secret=b"s" * 32, max_expires_early=180)
ID = bytes(range(16))
EARLY, CONFIRMED, TERMINATED = (dialogs(call(state, "a")) for state in ("early", "confirmed", "terminated"))


def planned(body: bytes = b"", *, expires: int = 600, event: str = "dialog", initial: bool = False) -> PublishCommand:
    etag = None if initial else entity_tag(ID, 7)
    content_type = TYPE if event != "presence" else "application/pidf+xml"
    plan = plan_publish(
        publish(etag=etag, expires=expires, event=event, body=body, content_type=content_type), POLICY
    )
    assert isinstance(plan, PublishCommand), plan
    return plan


def held(body: bytes, sequence: int = 7) -> Held:
    return Held(ID, sequence, body, TYPE)


def test_only_changes_in_packages_with_a_succession_have_to_be_read_for() -> None:
    change, first = planned(EARLY), planned(EARLY, initial=True)
    presence = planned(event="presence")
    assert needs_held([change, first, presence]) == [change]
    assert succeed(presence, None, POLICY) == presence


def test_dli_15_a_change_is_merged_with_what_is_held() -> None:
    body = succeed(planned(EARLY), held(TERMINATED), POLICY).body
    assert body is not None
    assert read(body).states == ["terminated"]
    assert succeed(planned(EARLY), None, POLICY).body == EARLY
    assert succeed(planned(EARLY), held(TERMINATED, sequence=8), POLICY).body == EARLY, "that of another tag"


@pytest.mark.parametrize(
    ("command", "before", "expires"),
    [
        (planned(EARLY, initial=True), None, 180),
        (planned(EARLY, expires=100, initial=True), None, 100),
        (planned(CONFIRMED, initial=True), None, 600),
        (planned(EARLY), held(dialogs()), 180),
        (planned(EARLY), held(CONFIRMED), 600),
        (planned(), held(EARLY), 180),
        (planned(), held(CONFIRMED), 600),
        (planned(), None, 600),
    ],
)
def test_dli_16_dli_23_parameter_max_expires_early_bounds_what_only_rings(
    command: PublishCommand, before: Held | None, expires: int
) -> None:
    assert succeed(command, before, POLICY).expires == expires
    assert succeed(command, before, replace(POLICY, max_expires_early=0)).expires == command.expires


def test_dli_15_a_removal_leaves_the_calls_that_have_ended_and_nothing_else() -> None:
    for body, before in ((TERMINATED, CONFIRMED), (b"", TERMINATED)):
        left = succeed(planned(body, expires=0), held(before), POLICY)
        assert left.body is not None
        assert (read(left.body).states, left.content_type, left.expires) == (["terminated"], TYPE, 0)
    for command, known in (
        (planned(CONFIRMED, expires=0), held(CONFIRMED)),
        (planned(expires=0), held(CONFIRMED)),
        (planned(expires=0), None),
        (planned(expires=0, event="presence"), None),
    ):
        left = succeed(command, known, POLICY)
        assert (left.body, left.content_type) == (None, None)


def test_dli_15_a_publication_that_is_over_at_once_is_stored_only_for_what_it_ends() -> None:
    assert planned(TERMINATED, expires=0, initial=True).expires == 0
    reply = plan_publish(publish(event="dialog", body=CONFIRMED, content_type=TYPE, expires=0), POLICY)
    assert isinstance(reply, Reply)
    assert reply.status == 200


def test_a_command_that_is_refused_stays_as_it_is() -> None:
    command = replace(planned(EARLY), refusal=UNAVAILABLE)
    assert succeed(command, held(TERMINATED), POLICY) == command
