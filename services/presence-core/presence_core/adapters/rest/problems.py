"""Errors as RFC 9457 has them: what is wrong, where in the request, and what to do."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from vedette.store.database import PoisonedError, StoreError, StoreUndecidedError
from vedette.store.redis_link import RedisAwayError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 2
"""Seconds to wait after 503."""

TITLES = {status: HTTPStatus(status).phrase for status in (400, 401, 403, 404, 405, 409, 412, 413, 415, 421, 429)} | {
    422: "Unprocessable Content",
    428: "Precondition Required",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_REMEDIES = {
    400: "Send what the operation describes; /api/v1/openapi.json has an example.",
    401: "Send the header `Authorization: Bearer TOKEN`; `vedette token create` makes a token.",
    403: "Use a token that may do this; `vedette token create --role ROLE` makes one.",
    404: "Look for it with the list of its kind; /api/v1/openapi.json names all of them.",
    405: "Use a method that the header Allow names.",
    409: "Look at what is there now, then decide.",
    412: "Get it again, and repeat the request with the ETag that you get.",
    413: "Send less.",
    415: "Send one of the media types that the operation describes.",
    421: "Call it by its address, or as localhost.",
    422: "Change it to what /api/v1/openapi.json allows, and repeat the request.",
    429: "Wait as long as Retry-After says.",
    500: "Repeat the request; the log of the api has the cause.",
    503: "Repeat the request after Retry-After.",
    504: "Repeat the same request, with the same Idempotency-Key where it had one.",
}

log = structlog.get_logger()


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field("about:blank", description="Always about:blank: the status says which kind it is.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What is wrong.", examples=["there is no live subscription with this id"])
    where: str | None = Field(None, description="The part of the request that is meant.", examples=["path.id"])
    remedy: str = Field(description="What to do.", examples=[_REMEDIES[404]])


class RestError(Exception):
    """An answer other than 2xx."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = problem(status, detail, where=where, remedy=remedy)
        self.headers = dict(headers or {})
        if status == 503:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER))


def problem(status: int, detail: str, *, where: str | None = None, remedy: str | None = None) -> Problem:
    """The body of an answer other than 2xx."""
    title = TITLES.get(status) or HTTPStatus(status).phrase
    return Problem(
        title=title, status=status, detail=detail, where=where, remedy=remedy or _REMEDIES.get(status, _REMEDIES[400])
    )


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These answers as OpenAPI describes them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


def answer(found: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The problem as a response."""
    return JSONResponse(found.model_dump(), status_code=found.status, media_type=MEDIA_TYPE, headers=headers)


def add_errors(app: FastAPI) -> None:
    """Have every error of the application answered with a problem."""

    @app.exception_handler(RestError)
    async def refused(_request: Request, error: RestError) -> JSONResponse:
        return answer(error.problem, error.headers)

    @app.exception_handler(StoreError)
    async def unavailable(_request: Request, error: StoreError) -> JSONResponse:
        return answer_of(error)

    @app.exception_handler(RedisAwayError)
    async def without_redis(_request: Request, _error: RedisAwayError) -> JSONResponse:
        return answer(problem(503, "Redis cannot be reached now"), {"Retry-After": str(RETRY_AFTER)})

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        more = len(error.errors()) - 1
        also = f" ({more} more)" if more else ""
        return answer(problem(422, f"{place}: {first['msg']}{also}", where=place))

    @app.exception_handler(HTTPException)
    async def plain(_request: Request, error: HTTPException) -> JSONResponse:
        return answer(problem(error.status_code, str(error.detail)), error.headers)

    @app.exception_handler(404)
    async def nothing(_request: Request, _error: Exception) -> JSONResponse:
        return answer(problem(404, "there is no such resource; see /api/v1/openapi.json"))

    @app.exception_handler(405)
    async def no_method(request: Request, error: HTTPException) -> JSONResponse:
        return answer(problem(405, f"this resource has no {request.method}"), error.headers)


def answer_of(error: StoreError) -> JSONResponse:
    """The answer where a store failed."""
    if isinstance(error, PoisonedError):
        return answer(problem(422, "Postgres cannot hold one of these values"))
    headers = {"Retry-After": str(RETRY_AFTER)}
    if isinstance(error, StoreUndecidedError):
        log.warning("outcome of a request unknown", reason=str(error))
        detail = "the connection to a store broke while it worked on this: it may have been done"
        return answer(problem(503, detail, remedy="Look whether it was done, then repeat the request."), headers)
    log.warning("request refused", reason=str(error))
    return answer(problem(503, "Postgres or Redis cannot be reached now"), headers)
