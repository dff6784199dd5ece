"""Every operation of REST, called as its description says and as it does not: no 5xx, no SQL, no surprise."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema_rs import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Core, Sql
from tests.integration.rest_api import RestApi, parts_of, served
from tests.integration.test_rest_access import operations
from tests.rfc_coverage import ROOT
from tests.servers import Servers
from vedette.store.api_tokens import Role
from vedette.store.database import Database

EXAMPLES = 5
"""Calls of each operation."""
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
UNAVAILABLE_HERE = {"clean_up"}
"""Operations that answer 503 since this set has no notifier."""

INJECTIONS = (
    "'; DROP TABLE presentity; --",
    "x' UNION SELECT hash FROM api_token --",
    "\r\nSet-Cookie: a=b",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
    "\N{SNOWMAN}\N{GRINNING FACE}\\${7*7}{{7*7}}%_%00../../etc/passwd",
    "a" * 9000,
)


@pytest.fixture
async def api(database: Database, core: Core, servers: Servers) -> AsyncIterator[RestApi]:
    url = servers.redis.url().replace("db=0", "db=4")
    async with served(parts_of(database, core, url), is_open=True) as found:
        yield found


async def test_schemathesis_finds_no_operation_that_breaks(api: RestApi, core: Core) -> None:
    await core.subscribe_one(subscribe(ALICE))
    await core.publish_one(publish(ALICE))
    description = await api.description()
    schema = schemathesis.openapi.from_dict(description)
    called: set[str] = set()
    failures: list[str] = []

    def call_one(operation: Any, name: str) -> None:
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            if operation.definition.raw.get("x-stream"):
                case.query["seconds"] = 0
            response = case.call(base_url=api.url, timeout=10)
            called.add(name)
            if not (response.status_code == 503 and name in UNAVAILABLE_HERE):
                case.validate_response(response, checks=CHECKS)

        call()

    def call_all() -> None:
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]
            name = operation.definition.raw["operationId"]
            try:
                call_one(operation, name)
            except Exception as error:  # noqa: BLE001 - all that is found is told at once
                failures.append(f"{name}: {error}")

    await asyncio.to_thread(call_all)
    assert not failures, "\n\n".join(failures)
    assert called == {operation["operationId"] for _, _, operation in operations(description)}


def resolved(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema behind references."""
    while "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


async def test_no_parameter_reaches_sql_or_another_header_as_text(api: RestApi, core: Core, sql: Sql) -> None:
    """Every parameter of every operation, in the path, the query, the headers and the JSON."""
    await core.publish_one(publish(ALICE))
    token = await api.token(Role.ADMIN)
    tables = await sql.fetch("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace")
    secret = (await sql.fetchval("SELECT hash FROM api_token")).hex()
    description = await api.description()
    calls = 0
    for method, path, operation in operations(description):
        for text in INJECTIONS:
            for call in _calls(description, path, operation, text):
                answer = await api.call(method, call.pop("path"), token=token, **call)
                calls += 1
                name = (method, path, text[:40], answer)
                if not (answer.status == 503 and operation["operationId"] in UNAVAILABLE_HERE):
                    assert answer.status < 500, name
                assert "set-cookie" not in answer.headers, name
                assert secret not in str(answer.body), name
                assert "root:" not in str(answer.body), name
                if answer.status >= 400:
                    answer.problem(answer.status)
    assert calls > 300
    after = await sql.fetch("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace")
    assert after == tables
    assert await sql.fetchval("SELECT count(*) FROM presentity WHERE presentity_uri = $1", ALICE) == 1


def _calls(description: dict[str, Any], path: str, operation: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """A call for each place that a text can stand in."""
    parameters = operation.get("parameters", [])
    ends = {"seconds": "0"} if operation.get("x-stream") else {}
    plain = path
    for parameter in parameters:
        plain = plain.replace(f"{{{parameter['name']}}}", "nothing@example.com")
    found: list[dict[str, Any]] = []
    for parameter in parameters:
        name, place = parameter["name"], parameter["in"]
        if place == "path":
            found.append({"path": path.replace(f"{{{name}}}", quote(text, safe=""))})
        elif place == "query":
            found.append({"path": plain, **ends, name: text})
        elif text.isascii() and "\r" not in text:
            found.append({"path": plain, **ends, "headers": {name: text[:4000]}})
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        schema = content["application/json"]["schema"]
        schema = resolved(description, schema.get("anyOf", [schema])[0])
        examples = list(content["application/json"].get("examples", {}).values())
        example = examples[0]["value"] if examples else {}
        for name in schema.get("properties", {}):
            found.append({"path": plain, "body": {**example, name: text}})
    found += [
        {"path": plain, "data": text.encode(), "headers": {"Content-Type": media_type}, "presentity": ALICE}
        for media_type in content
    ]
    return found


async def test_examples_are_what_their_schemas_say(api: RestApi) -> None:
    """Each example of an answer, and each of a request, by JSON Schema."""
    description = await api.description()
    components = {"components": description["components"]}
    seen = 0
    for _, path, operation in operations(description):
        answers = [answer for code, answer in operation["responses"].items() if code.startswith("2")]
        for content in [answer.get("content", {}) for answer in answers] + [
            operation.get("requestBody", {}).get("content", {})
        ]:
            for media in content.values():
                examples = [media["example"]] if "example" in media else []
                examples += [example["value"] for example in media.get("examples", {}).values()]
                for example in examples:
                    validator = Draft202012Validator({**media["schema"], **components})
                    errors = [error.message for error in validator.iter_errors(example)]
                    assert not errors, (path, errors, json.dumps(example))
                    seen += 1
    assert seen >= len(operations(description)) - 5


async def test_the_page_has_every_operation_with_its_role(api: RestApi) -> None:
    page = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if line.startswith("| `")]
    wanted = [
        f"| `{method.upper()} {path.removeprefix('/api/v1')}` | {operation['x-role']} | "
        f"{'yes' if operation['x-scope'] == 'domain' else 'no'} | {operation['summary']} |"
        for method, path, operation in operations(await api.description())
        if operation["x-role"] != "public"
    ]
    assert listed == wanted
