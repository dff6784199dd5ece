"""The admin REST as an application."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

from presence_core.adapters.rest.access import Gate
from presence_core.adapters.rest.audit_log import add_audit_log
from presence_core.adapters.rest.cleanup import add_cleanup
from presence_core.adapters.rest.event_packages import add_event_packages
from presence_core.adapters.rest.explain import add_explain
from presence_core.adapters.rest.guard import Guard
from presence_core.adapters.rest.hash_tables import add_hash_tables
from presence_core.adapters.rest.health import add_health
from presence_core.adapters.rest.live_events import add_live_events
from presence_core.adapters.rest.operations import ROOT, Operations
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.presentities import add_presentities
from presence_core.adapters.rest.problems import add_errors
from presence_core.adapters.rest.publications import add_publications
from presence_core.adapters.rest.publishing import add_publishing
from presence_core.adapters.rest.queues import add_queues
from presence_core.adapters.rest.registrations import add_registrations
from presence_core.adapters.rest.replicas import add_replicas
from presence_core.adapters.rest.rules import add_rules
from presence_core.adapters.rest.subscription_actions import add_subscription_actions
from presence_core.adapters.rest.subscriptions import add_subscriptions
from presence_core.adapters.rest.tokens import add_tokens
from presence_core.adapters.rest.trace import add_trace
from presence_core.adapters.rest.users import add_users
from presence_core.adapters.rest.watchers import add_watchers
from presence_core.adapters.rest.webhooks import add_dead_letters, add_webhooks
from vedette import VERSION

MODULES = (
    add_presentities,
    add_publications,
    add_publishing,
    add_subscriptions,
    add_subscription_actions,
    add_watchers,
    add_rules,
    add_explain,
    add_registrations,
    add_users,
    add_tokens,
    add_replicas,
    add_event_packages,
    add_hash_tables,
    add_queues,
    add_cleanup,
    add_live_events,
    add_webhooks,
    add_dead_letters,
    add_audit_log,
    add_trace,
)
"""What adds the operations of each resource."""

_ABOUT = """The whole system's presence: what is published, who watches, which processes there are.

Errors are `application/problem+json` (RFC 9457). Lists have pages: pass `next` as `cursor` until it is null. A token
(`vedette token create`) has a role, reader, operator or admin, and may be for one domain alone; each operation says
what it needs (`x-role`, `x-scope`)."""


def rest_app(parts: Parts, gate: Gate, *, max_body: int, is_open: bool) -> ASGIApp:
    """The application. `max_body` in octets; `is_open`: no token is asked for (`api_auth=none`)."""
    app = FastAPI(title="Vedette", version=VERSION, docs_url=None, redoc_url=None, openapi_url=f"{ROOT}/openapi.json")
    app.state.gate = gate
    add_errors(app)
    add_health(app, parts)
    operations = Operations(app)
    for add in MODULES:
        add(operations, parts)
    app.openapi = lambda: _described(app, operations)  # type: ignore[method-assign]
    return Guard(app, max_body=max_body, is_open=is_open)


def _described(app: FastAPI, operations: Operations) -> dict[str, Any]:
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
        components = found.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for model in operations.schemas:
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for (path, method, status, media_type), example in operations.examples.items():
            found["paths"][path][method]["responses"][status]["content"][media_type]["example"] = example
        app.openapi_schema = found
    return app.openapi_schema
