"""How an operation joins the application: never without a role, an id, an example and its errors."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from presence_core.adapters.rest.access import Gate
from presence_core.adapters.rest.problems import Problem, described
from vedette.store.api_tokens import Role

ROOT = "/api/v1"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class _GuardedRoute(APIRoute):
    """Asks who calls before anything of the request is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        assert self.openapi_extra is not None
        handle = super().get_route_handler()
        role, whole_system = Role(self.openapi_extra["x-role"]), self.openapi_extra["x-scope"] == "system"

        async def guarded(request: Request) -> Response:
            gate: Gate = request.app.state.gate
            request.state.caller = await gate.admit(request, role, whole_system=whole_system)
            return await handle(request)

        return guarded


class Operations:
    """Where the modules of the resources add their operations."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.schemas: list[type[BaseModel]] = [Problem]
        """What the description refers to, besides what FastAPI finds."""
        self.examples: dict[tuple[str, str, str, str], object] = {}
        """By path, method, status and media type: FastAPI leaves out what is null in them."""

    def add(
        self,
        method: str,
        path: str,
        *,
        tag: str,
        role: Role,
        example: object,
        errors: Sequence[int] = (),
        whole_system: bool = False,
        status: int = 200,
        media_type: str = "application/json",
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
        model: type[BaseModel] | None = None,
        schemas: Sequence[type[BaseModel]] = (),
        response_class: type[Response] = JSONResponse,
    ) -> Callable[[Endpoint], Endpoint]:
        """A decorator: the function answers `method` on `path`, and its name is the operation's id.

        `role`: the least that may; `whole_system`: a token for one domain may not. `example`: what a call answers
        (None: no content). `headers`: what else the answer has. `extra`: more for OpenAPI, `schemas` what it
        refers to. What every operation may answer is added to the errors.
        """
        responses = described(*sorted({*errors, 401, 403, 413, 421, 429, 503}))
        success: dict[str, Any] = {}
        if example is not None:
            schema = {} if media_type == "application/json" else {"schema": {"type": "string"}}
            success["content"] = {media_type: {"example": example, **schema}}
        if headers:
            success["headers"] = {
                name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in headers.items()
            }
        responses[status] = success
        if model is not None:
            responses[status]["model"] = model

        self.schemas.extend(schemas)
        if example is not None:
            self.examples[ROOT + path.replace(":path", ""), method.lower(), str(status), media_type] = example

        def add(endpoint: Endpoint) -> Endpoint:
            scope = "system" if whole_system else "domain"
            text = (endpoint.__doc__ or "").strip()
            self._app.router.add_api_route(
                ROOT + path,
                endpoint,
                methods=[method],
                status_code=status,
                operation_id=endpoint.__name__,
                summary=text.partition("\n")[0].rstrip("."),
                description=f"{text}\n\nRole: {role}; {_SCOPES[scope]}.",
                tags=[tag],
                responses=responses,
                openapi_extra={
                    "x-role": str(role),
                    "x-scope": scope,
                    "security": [{"bearer": []}],
                    **(extra or {}),
                },
                route_class_override=_GuardedRoute,
                response_class=response_class,
            )
            return endpoint

        return add


_SCOPES = {
    "system": "not for tokens of one domain",
    "domain": "a token of one domain sees and changes what is there",
}
