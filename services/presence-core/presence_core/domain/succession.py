"""What a PUBLISH makes of the state before it, in packages whose states follow from one another (calls)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand
from vedette.events.package import Succession
from vedette.events.registry import PACKAGES


class Held(NamedTuple):
    """A publication as it is before a PUBLISH."""

    publication_id: bytes
    sequence: int
    body: bytes
    content_type: str


def needs_held(commands: Sequence[PublishCommand]) -> list[PublishCommand]:
    """Those of the commands for which the publication that they change has to be read first."""
    return [command for command in commands if command.sequence is not None and succession_of(command) is not None]


def succession_of(command: PublishCommand) -> Succession | None:
    """How states follow in the package of a command; None where each body stands for itself."""
    return PACKAGES[command.presentity.event].succession


def succeed(command: PublishCommand, held: Held | None, policy: Policy) -> PublishCommand:
    """The command with the body that has to be stored, and the lifetime that it may have.

    `held` is what was read of the publication. The body of an entity tag never changes, so where the tag still
    matches in the database it is the body before this one; one with another tag is none of ours.
    """
    succession = succession_of(command)
    if succession is None or command.refusal is not None:
        return command
    if held is not None and (held.publication_id, held.sequence) != (command.publication_id, command.sequence):
        held = None
    before = None if held is None else held.body
    if command.expires == 0:
        remains = succession.remains(before, command.body)
        content_type = command.content_type or (held.content_type if held is not None else None)
        call = None if remains is None else succession.single_call(remains)
        return replace(command, body=remains, content_type=None if remains is None else content_type, call=call)
    body = command.body
    if body is not None and before is not None:
        body = succession.merge(before, body)
    expires = command.expires
    holds = body if body is not None else before
    if policy.max_expires_early and holds is not None and succession.is_provisional(holds):
        expires = min(expires, policy.max_expires_early)
    call = None if body is None else succession.single_call(body)
    return replace(command, body=body, expires=expires, call=call)
