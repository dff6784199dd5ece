"""Who may call which operation of the admin REST: tokens, roles, domains, and what is none of these."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from presence_core.adapters.rest.access import FAILURES, Failures
from tests.integration.replicas import Core
from tests.integration.rest_api import MAX_BODY, RestApi, parts_of, served
from vedette.store.api_tokens import Role
from vedette.store.database import Database

PUBLIC = {("get", "/readyz")}
STREAMS = {"/api/v1/events"}
"""They end when they are asked to."""
METHODS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture
async def api(database: Database, core: Core) -> AsyncIterator[RestApi]:
    """One that asks for tokens."""
    async with served(parts_of(database, core), is_open=False) as found:
        yield found


@pytest.fixture
async def open_api(database: Database, core: Core) -> AsyncIterator[RestApi]:
    """One that asks for none."""
    async with served(parts_of(database, core), is_open=True) as found:
        yield found


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every operation."""
    return [
        (method, path, operation)
        for path, found in description["paths"].items()
        for method, operation in found.items()
        if method in METHODS
    ]


def path_of(path: str) -> str:
    """A path with something in place of each parameter: nothing that is there."""
    for name, value in (("uri", "nobody@example.com"), ("domain", "example.com")):
        path = path.replace(f"{{{name}}}", value)
    while "{" in path:
        path = path[: path.index("{")] + "nothing" + path[path.index("}") + 1 :]
    return f"{path}?seconds=0" if path in STREAMS else path


async def test_every_operation_has_a_role_an_id_a_tag_an_example_and_its_errors(api: RestApi) -> None:
    description = await api.description()
    found = operations(description)
    assert {(method, path) for method, path, operation in found if operation["x-role"] == "public"} == PUBLIC
    ids = [operation["operationId"] for _, _, operation in found]
    assert len(ids) == len(set(ids))
    for method, path, operation in found:
        name = f"{method} {path}"
        assert operation["tags"], name
        assert operation["summary"], name
        (success,) = (code for code in operation["responses"] if code.startswith("2"))
        if success != "204":
            (content,) = operation["responses"][success]["content"].values()
            assert content["example"], name
        if (method, path) in PUBLIC:
            continue
        assert operation["x-role"] in set(Role), name
        assert operation["x-scope"] in {"system", "domain"}, name
        assert operation["security"] == [{"bearer": []}], name
        assert {"401", "403", "429", "503"} <= set(operation["responses"]), name
        for code, response in operation["responses"].items():
            if not code.startswith("2"):
                assert list(response["content"]) == ["application/problem+json"], (name, code)


async def test_each_role_may_what_it_may_and_nothing_else(api: RestApi) -> None:
    """All operations, all roles. Who may gets an answer about the request, which names nothing that is there."""
    tokens = {role: await api.token(role) for role in Role}
    scoped = await api.token(Role.ADMIN, "example.net")
    for method, path, operation in operations(await api.description()):
        if (method, path) in PUBLIC:
            assert (await api.call("GET", path)).status == 200
            continue
        name = f"{method} {path}"
        least = Role(operation["x-role"])
        refused = await api.call(method, path_of(path))
        assert refused.problem(401)["where"] == "header.authorization", name
        assert refused.headers["WWW-Authenticate"].startswith("Bearer"), name
        for role, token in tokens.items():
            answer = await api.call(method, path_of(path), token=token)
            if role.covers(least):
                assert answer.status not in {401, 403, 500}, (name, role, answer)
            else:
                assert str(least) in answer.problem(403)["remedy"], (name, role)
        answer = await api.call(method, path_of(path), token=scoped)
        if operation["x-scope"] == "system":
            assert "example.net" in answer.problem(403)["detail"], name
        else:
            assert answer.status not in {401, 500}, (name, answer)


async def test_who_may_not_is_told_so_before_anything_of_the_request_is_read(api: RestApi) -> None:
    reader = await api.token(Role.READER)
    for method, path, operation in operations(await api.description()):
        if "requestBody" in operation and operation["x-role"] != "reader":
            for token, status in ((None, 401), (reader, 403)):
                answer = await api.call(method, path_of(path), token=token, data=b"{", limit="x")
                answer.problem(status)


async def test_a_token_that_is_revoked_or_over_counts_no_more(database: Database, core: Core) -> None:
    for change in ("revoked = clock_timestamp()", "expires = clock_timestamp()"):
        async with served(parts_of(database, core), is_open=False) as api:
            token = await api.token(Role.READER)
            id_ = token.split("_")[1]
            await database.fetch(f"UPDATE api_token SET {change} WHERE id = $1", id_)
            answer = await api.call("GET", "/api/v1/replicas", token=token)
            assert "revoked, or over" in answer.problem(401)["detail"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token.replace("vdt_", "vdt-"),
        lambda token: token + "A",
        lambda token: token.partition("_")[2],
        lambda token: "vdt_000000000000_" + token.rpartition("_")[2],
        lambda _: "",
        lambda _: "'; DROP TABLE api_token; --",
        lambda _: "\xff" * 100,
    ],
)
async def test_what_is_no_token_is_a_401(api: RestApi, spoil: Any) -> None:
    token = await api.token(Role.ADMIN)
    answer = await api.call("GET", "/api/v1/replicas", token=spoil(token))
    answer.problem(401)
    assert "invalid_token" in answer.headers["WWW-Authenticate"]
    assert token not in str(answer)
    assert (await api.call("GET", "/api/v1/replicas", headers={"Authorization": f"Basic {token}"})).status == 401
    assert (await api.call("GET", "/api/v1/replicas", token=token)).status == 200


async def test_of_a_token_only_a_hash_is_kept_and_when_it_was_used(api: RestApi, database: Database) -> None:
    token = await api.token(Role.READER)
    _, id_, secret = token.split("_", 2)
    before = await database.fetch("SELECT * FROM api_token WHERE id = $1", id_)
    assert before[0]["last_used"] is None
    assert secret.encode() not in bytes(before[0]["hash"])
    assert secret not in str(before[0])
    await api.call("GET", "/api/v1/replicas", token=token)
    after = await database.fetch("SELECT last_used FROM api_token WHERE id = $1", id_)
    assert after[0]["last_used"] is not None


async def test_a_source_that_sends_wrong_tokens_has_to_wait_and_right_ones_go_on(api: RestApi) -> None:
    known, new = await api.token(Role.READER), await api.token(Role.READER)
    assert (await api.call("GET", "/api/v1/replicas", token=known)).status == 200
    answers = [await api.call("GET", "/api/v1/replicas", token="wrong") for _ in range(FAILURES + 1)]
    assert [answer.status for answer in answers] == [401] * FAILURES + [429]
    answers[-1].problem(429)
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 61
    assert (await api.call("GET", "/api/v1/replicas", token=known)).status == 200
    assert (await api.call("GET", "/api/v1/replicas", token=new)).status == 429
    assert (await api.call("GET", "/api/v1/replicas")).status == 401
    assert (await api.call("GET", "/readyz")).status == 200


def test_failures_are_counted_for_a_while_and_of_so_many_sources() -> None:
    failures = Failures(limit=2, window=10, sources=3)
    for now in (0.0, 1.0):
        assert failures.wait("a", now) == 0
        failures.failed("a", now)
    assert failures.wait("a", 4.0) == 6
    assert failures.wait("b", 4.0) == 0
    assert failures.wait("a", 10.0) == 0
    failures.failed("a", 10.0)
    assert failures.wait("a", 10.0) == 0
    failures.failed("a", 11.0)
    assert failures.wait("a", 11.0) == 9
    for source in "bcd":
        failures.failed(source, 11.0)
    assert failures.wait("a", 11.0) == 0


async def test_wrong_tokens_of_many_at_once_are_answered(api: RestApi) -> None:
    token = await api.token(Role.READER)
    answers = await asyncio.gather(
        *(api.call("GET", "/api/v1/replicas", token=token if number % 2 else "wrong") for number in range(40))
    )
    assert {answer.status for answer in answers[1::2]} <= {200, 429}
    assert {answer.status for answer in answers[::2]} <= {401, 429}


async def test_an_open_api_asks_for_no_token_and_takes_the_ones_it_is_given(open_api: RestApi) -> None:
    assert (await open_api.call("GET", "/api/v1/replicas")).status == 200
    (await open_api.call("GET", "/api/v1/replicas", token="wrong")).problem(401)
    scoped = await open_api.token(Role.READER, "example.net")
    (await open_api.call("GET", "/api/v1/replicas", token=scoped)).problem(403)


# browsers


async def test_pages_of_other_origins_are_not_served(open_api: RestApi) -> None:
    own = open_api.url.partition("://")[2]
    for headers, status in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ):
        answer = await open_api.call("GET", "/api/v1/replicas", headers=headers)
        assert answer.status == status, headers
        assert not any(name.lower().startswith("access-control") for name in answer.headers)
    answer = await open_api.call(
        "OPTIONS",
        "/api/v1/replicas",
        headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"},
    )
    answer.problem(403)


async def test_an_open_api_is_called_only_by_names_that_nobody_else_can_own(open_api: RestApi, api: RestApi) -> None:
    token = await api.token(Role.READER)
    for host, status in (
        ("evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("localhost:8080", 200),
        ("api.localhost:8080", 200),
        ("api:8080", 200),
        ("192.0.2.1:8080", 200),
        ("[::1]:8080", 200),
        ("[2001:db8::1]", 200),
    ):
        answer = await open_api.call("GET", "/api/v1/replicas", headers={"Host": host})
        assert answer.status == status, (host, answer)
        assert (await api.call("GET", "/api/v1/replicas", token=token, headers={"Host": host})).status == 200


async def test_every_answer_has_the_headers_that_keep_browsers_from_guessing(api: RestApi) -> None:
    token = await api.token(Role.READER)
    for answer in (
        await api.call("GET", "/readyz"),
        await api.call("GET", "/api/v1/replicas"),
        await api.call("GET", "/api/v1/replicas", token=token),
        await api.call("GET", "/nothing"),
    ):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_parameter_api_max_body_size_limits_bodies_announced_or_not(open_api: RestApi) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 1024 + 1):
            yield b"x" * 1024

    (await open_api.call("GET", "/api/v1/replicas", data=b"x" * (MAX_BODY + 1))).problem(413)
    assert (await open_api.call("GET", "/api/v1/replicas", data=b"x" * MAX_BODY)).status == 200
    reading = [
        (method, path)
        for method, path, operation in operations(await open_api.description())
        if "requestBody" in operation
    ]
    for method, path in reading:
        pieces: Any = in_pieces()
        answer = await open_api.call(
            method,
            path_of(path),
            data=pieces,
            headers={"Content-Type": "application/json"},
            presentity="nobody@example.com",
        )
        assert str(MAX_BODY) in answer.problem(413)["detail"], (method, path)
