"""What is published over HTTP: a document as it is, or a state in plain words, which becomes one."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from presence_core.adapters.rest.problems import RestError
from presence_core.domain.plain_states import (
    PlainCall,
    PlainMessages,
    PlainPresence,
    write_calls,
    write_messages,
    write_presence,
)
from vedette.documents.presence_schema import ACTIVITIES
from vedette.events.registry import PACKAGES

LONGEST = 2**31 - 1
PUBLISHED = tuple(package for package in PACKAGES.values() if package.publish_types)
RAW_TYPES = tuple(dict.fromkeys(media_type for package in PUBLISHED for media_type in package.publish_types))


NO_CONTROL = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]*$"
"""What XML can hold."""
Line = Annotated[str, Field(max_length=512, pattern=r"^[^\x00-\x1f\x7f\ufffe\uffff]*$")]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.@!%*+~-]+$")]
Count = Annotated[int, Field(ge=0, le=2**32 - 1)]
Expires = Annotated[int, Field(ge=1, le=LONGEST, description="Seconds; the policy may grant less.")]

Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PresenceState(_Strict):
    """What becomes a PIDF document."""

    status: Literal["open", "closed"]
    note: Annotated[str, Field(max_length=2048, pattern=NO_CONTROL)] | None = None
    activities: list[str] = Field(
        default=[], max_length=len(ACTIVITIES), description=f"Of RFC 4480: {', '.join(ACTIVITIES)}."
    )
    contact: Line | None = Field(None, description="A URI to reach the presentity by.")


class CallState(_Strict):
    """One call."""

    id: Name
    state: Literal["trying", "proceeding", "early", "confirmed", "terminated"]
    direction: Literal["initiator", "recipient"] | None = None
    call_id: Line | None = None
    local_tag: Line | None = None
    remote_tag: Line | None = None
    remote: Line | None = Field(None, description="URI of the other side.")
    remote_display: Line | None = None


class DialogState(_Strict):
    """What becomes a dialog-info document: all calls of the presentity that this publication knows."""

    calls: list[CallState] = Field(max_length=100)


class MessageCounts(_Strict):
    """Messages of one kind."""

    new: Count
    old: Count = 0
    urgent_new: Count | None = None
    urgent_old: Count | None = None


class MessageState(_Strict):
    """What becomes a message summary."""

    waiting: bool
    account: Line | None = Field(None, description="URI of the account; the presentity where it is left out.")
    messages: dict[Literal["voice", "fax", "pager", "multimedia", "text"], MessageCounts] = {}


class PublicationChange(_Strict):
    """A body, as it is or in plain words; exactly one of `body`, `presence`, `dialog` and `message_summary`."""

    expires: Expires | None = None
    content_type: Line | None = Field(None, description="Of `body`.")
    body: str | None = Field(None, description="The document as it is.")
    presence: PresenceState | None = None
    dialog: DialogState | None = None
    message_summary: MessageState | None = None


class PublicationRequest(PublicationChange):
    """A new publication."""

    presentity: Annotated[str, Field(max_length=1024, pattern=NO_CONTROL)]
    event: Annotated[str, Field(max_length=128, pattern=NO_CONTROL)] = "presence"


class RefreshRequest(_Strict):
    """How long the publication is to live from now."""

    expires: Expires | None = None


def described_body(model: str, examples: Mapping[str, Any], *, raw: bool, required: bool = True) -> dict[str, Any]:
    """A request body as OpenAPI describes it; `raw`: the document itself will do."""
    content: dict[str, Any] = {
        "application/json": {
            "schema": {"$ref": f"#/components/schemas/{model}"},
            "examples": {name: {"value": value} for name, value in examples.items()},
        }
    }
    if raw:
        content |= {media_type: {"schema": {"type": "string"}} for media_type in RAW_TYPES}
    return {"requestBody": {"required": required, "content": content}}


def is_json(content_type: str) -> bool:
    """Whether the body is JSON in plain words, and not the document itself."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def read_body(kind: type[Model], raw: bytes) -> Model:
    """The JSON as that model; RequestValidationError where it is none."""
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise RequestValidationError(
            [{**found, "loc": ("body", *found["loc"])} for found in error.errors(include_url=False)]
        ) from None


def document_of(asked: PublicationChange, aor: str, event: str) -> tuple[str, bytes]:
    """Content type and document of what was asked for; RestError 422 where it is not one, or not one of the event."""
    given = {
        name: value
        for name in ("body", "presence", "dialog", "message_summary")
        if (value := getattr(asked, name)) is not None
    }
    if len(given) != 1:
        raise RestError(422, "exactly one of body, presence, dialog and message_summary is needed", where="body")
    (kind,) = given
    if kind == "body":
        if asked.content_type is None or asked.body is None:
            raise RestError(422, "content_type: needed with body", where="body.content_type")
        return asked.content_type, asked.body.encode("utf-8", "replace")
    if asked.content_type is not None:
        raise RestError(422, "content_type: only with body", where="body.content_type")
    about = {"presence": "presence", "dialog": "dialog", "message_summary": "message-summary"}[kind]
    if event.partition(";")[0] != about:
        raise RestError(422, f"{kind} is no state of the event {event}", where=f"body.{kind}")
    try:
        return PACKAGES[about].publish_types[0], _written(asked, aor)
    except ValueError as error:
        raise RestError(422, f"{kind}: {error}", where=f"body.{kind}") from None


def _written(asked: PublicationChange, aor: str) -> bytes:
    if asked.presence is not None:
        unknown = [name for name in asked.presence.activities if name not in ACTIVITIES]
        if unknown:
            raise RestError(
                422,
                f"activities: {unknown[0][:64]!r} is none",
                where="body.presence.activities",
                remedy=f"These are: {', '.join(ACTIVITIES)}.",
            )
        state = asked.presence
        return write_presence(aor, PlainPresence(state.status, state.note, state.activities, state.contact))
    if asked.dialog is not None:
        return write_calls(aor, [PlainCall(**call.model_dump()) for call in asked.dialog.calls])
    assert asked.message_summary is not None
    summary = asked.message_summary
    messages = [PlainMessages(kind, **counts.model_dump()) for kind, counts in summary.messages.items()]
    return write_messages(aor, waiting=summary.waiting, account=summary.account, messages=messages)
