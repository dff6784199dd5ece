"""Whether the set works. The one operation that everybody may call, and that says little."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from presence_core.adapters.rest.parts import Parts, Readiness

_CHECKS = {"postgres": "ok", "presence-core": "ok", "notifier": "ok", "sip-edge": "ok"}


def add_health(app: FastAPI, parts: Parts) -> None:
    """Add /readyz."""

    @app.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether the whole set works",
        tags=["health"],
        responses={
            200: {"content": {"application/json": {"example": {"ready": True, "checks": _CHECKS}}}},
            503: {
                "model": Readiness,
                "content": {
                    "application/json": {
                        "example": {"ready": False, "checks": {**_CHECKS, "notifier": "none seen within 5 seconds"}}
                    }
                },
            },
        },
        response_model=Readiness,
        openapi_extra={"x-role": "public"},
    )
    async def readyz() -> JSONResponse:
        """Whether the whole set works: schema, one core, one notifier, one edge."""
        state = await parts.readiness()
        return JSONResponse(state.model_dump(), status_code=200 if state.ready else 503)
