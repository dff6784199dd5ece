"""Registrations over REST: listed by page, user and domain, and removed."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.replicas import Core, Sql
from tests.integration.rest_api import RestApi, parts_of, served
from tests.integration.test_registrations import Registrar, register
from tests.servers import Servers
from vedette.store.api_tokens import Role
from vedette.store.database import Database

PATH = "/api/v1/registrations"


@pytest.fixture
async def api(database: Database, core: Core, servers: Servers) -> AsyncIterator[RestApi]:
    url = servers.redis.url().replace("db=0", "db=4")
    registrar = Registrar(database)
    for name in ("bob@example.net", "carol@example.net", "dave@example.org"):
        await registrar.register(register(f"<sip:{name[:3]}@192.0.2.7>", to_uri=f"sip:{name}", expires="600"))
    async with served(parts_of(database, core, url), is_open=True) as found:
        yield found


async def test_registrations_are_listed_by_page_user_and_domain(api: RestApi) -> None:
    whole = (await api.get(PATH))["items"]
    assert {item["user"] for item in whole} == {
        "sip:bob@example.net",
        "sip:carol@example.net",
        "sip:dave@example.org",
    }
    first = await api.get(PATH, limit="2")
    second = await api.get(PATH, limit="2", cursor=first["next"])
    # What is left of their time may be a second less by now.
    assert [item["id"] for item in first["items"] + second["items"]] == [item["id"] for item in whole]
    assert second["next"] is None
    [bob] = (await api.get(PATH, user="bob@example.net"))["items"]
    assert (bob["contact"], bob["received"], bob["q"], bob["reg_id"]) == (
        *("sip:bob@192.0.2.7", "sip:192.0.2.7:5060;transport=udp", None, 0),
    )
    assert 590 <= bob["seconds"] <= 600
    assert [item["user"] for item in (await api.get(PATH, domain="example.org"))["items"]] == ["sip:dave@example.org"]
    assert (await api.get(PATH, user="bob@example.net", domain="example.org"))["items"] == []
    (await api.call("GET", PATH, user="tel:+1")).problem(422)


async def test_a_registration_is_removed_once_and_the_audit_log_says_who(api: RestApi, sql: Sql) -> None:
    [bob] = (await api.get(PATH, user="bob@example.net"))["items"]
    path = f"{PATH}/bob@example.net/{bob['id']}"
    (await api.call("DELETE", f"{PATH}/carol@example.net/{bob['id']}")).problem(404)
    assert (await api.call("DELETE", path)).status == 204
    (await api.call("DELETE", path)).problem(404)
    assert (await api.get(PATH, user="bob@example.net"))["items"] == []
    assert await sql.fetchval("SELECT operation || ' ' || target FROM audit") == (
        "remove_registration sip:bob@example.net"
    )


async def test_a_token_of_a_domain_has_the_registrations_of_its_domain(api: RestApi) -> None:
    token = await api.token(Role.OPERATOR, "example.org")
    listed = await api.call("GET", PATH, token=token)
    assert [item["user"] for item in listed.body["items"]] == ["sip:dave@example.org"]
    [bob] = (await api.get(PATH, user="bob@example.net"))["items"]
    (await api.call("DELETE", f"{PATH}/bob@example.net/{bob['id']}", token=token)).problem(403)
