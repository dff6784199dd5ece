"""A client's side of digest, which shares no code with the stack under test, and users for it."""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import asyncpg

from tests.phone import Dialog, MakePhone, Message, Phone, pidf, token
from tests.running_set import RunningSet
from vedette_cli.supervisor.control import ask

PASSWORD = "correct horse"
REALM = "example.com"
NOTHING: Mapping[str, str] = MappingProxyType({})
HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}


async def add_user(running: RunningSet, name: str, password: str = PASSWORD) -> None:
    """Put a user into the database, as `vedette user add` does, or give him a new password."""
    username, _, domain = name.partition("@")
    secrets = [hashlib.new(kind, f"{username}:{domain}:{password}".encode()).hexdigest() for kind in HASHES.values()]
    await _execute(
        running,
        "INSERT INTO subscriber (username, domain, ha1_sha512t256, ha1_sha256, ha1) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (domain, username) DO UPDATE SET ha1_sha512t256 = $3, ha1_sha256 = $4, ha1 = $5",
        username,
        domain,
        *secrets,
    )


async def remove_user(running: RunningSet, name: str) -> None:
    """Take a user out of the database."""
    username, _, domain = name.partition("@")
    await _execute(running, "DELETE FROM subscriber WHERE username = $1 AND domain = $2", username, domain)


async def _execute(running: RunningSet, statement: str, *arguments: str) -> None:
    connection = await asyncpg.connect(ask(running.data, {"command": "stores"})["db_url"])
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def user(make_phone: MakePhone, running: RunningSet, name: str | None = None, **options: Any) -> Phone:
    """A phone whose user is known to the set."""
    phone = await make_phone(running, user=name or token("user"), **options)
    await add_user(running, f"{phone.user}@{REALM}")
    return phone


def fields(row: str) -> dict[str, str]:
    """The parameters of a Digest row as they are written, quotes included."""
    scheme, _, rest = row.partition(" ")
    assert scheme == "Digest"
    return {name.strip(): value for name, _, value in (part.partition("=") for part in rest.split(", "))}


def challenges(response: Message) -> dict[str, dict[str, str]]:
    """The rows of a 401 by algorithm, in their order."""
    assert response.status == 401, response.start
    assert "proxy-authenticate" not in response
    rows = [fields(row) for row in response.all("www-authenticate")]
    return {row["algorithm"]: row for row in rows}


class Digest:
    """A client's side, of its own: counts the uses of its nonce."""

    def __init__(self, response: Message, user: str, password: str = PASSWORD, algorithm: str = "SHA-256") -> None:
        row = challenges(response)[algorithm]
        self.realm, self.nonce = row["realm"].strip('"'), row["nonce"].strip('"')
        self.user, self.password, self.algorithm = user, password, algorithm
        self.count = 0

    def header(
        self, method: str, target: str, *, count: int | None = None, changes: Mapping[str, str] = NOTHING
    ) -> str:
        """An Authorization row; `changes` replace what stands in it, after the response was computed."""
        self.count = self.count + 1 if count is None else count
        nc, cnonce = f"{self.count:08x}", token()
        session = self.algorithm.endswith("-sess")
        name = HASHES[self.algorithm.removesuffix("-sess")]

        def hashed(*parts: str) -> str:
            return hashlib.new(name, ":".join(parts).encode()).hexdigest()

        secret = hashed(self.user, self.realm, self.password)
        if session:
            secret = hashed(secret, self.nonce, cnonce)
        response = hashed(secret, self.nonce, nc, cnonce, "auth", hashed(method, target))
        values = {
            "username": f'"{self.user}"', "realm": f'"{self.realm}"', "nonce": f'"{self.nonce}"',
            "uri": f'"{target}"', "response": f'"{response}"', "algorithm": self.algorithm, "qop": "auth", "nc": nc,
            "cnonce": f'"{cnonce}"',
        }  # fmt: skip
        return "Authorization: Digest " + ", ".join(
            f"{name}={value}" for name, value in {**values, **changes}.items()
        )


async def challenged(phone: Phone) -> Message:
    """A 401 to a PUBLISH."""
    response = await phone.request(phone.publish(body=pidf(phone.aor)))
    assert response.status == 401, response.start
    return response


async def digest(phone: Phone, password: str = PASSWORD, algorithm: str = "SHA-256") -> Digest:
    """Credentials for a nonce that was not used."""
    return Digest(await challenged(phone), phone.user, password, algorithm)


def publish(phone: Phone, authorization: str, uri: str | None = None, **options: Any) -> bytes:
    extra = (authorization, *options.pop("extra", ()))
    return phone.publish(uri, body=pidf(uri or phone.aor), extra=extra, **options)


async def publishes(phone: Phone, authorization: str, uri: str | None = None, **options: Any) -> Message:
    """The answer to a PUBLISH with that row."""
    return await phone.request(publish(phone, authorization, uri, **options))


async def subscribes(phone: Phone, dialog: Dialog, proof: Digest, **options: Any) -> Message:
    """The answer to a SUBSCRIBE with good credentials."""
    uri = dialog.target or dialog.presentity
    response = await phone.request(
        phone.subscribe(dialog, extra=(proof.header("SUBSCRIBE", uri), *options.pop("extra", ())), **options)
    )
    if response.status == 200:
        dialog.to_tag = response.to_tag or ""
        dialog.target = response["contact"].strip("<>")
    return response
