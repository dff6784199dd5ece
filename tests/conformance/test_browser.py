"""A browser (headless Chromium with SIP.js) subscribes and publishes over WebSocket (RFC 7118)."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conformance.observed import saying
from tests.conformance.secured import Secured, secured
from tests.folders import open_folder
from tests.phone import MakePhone, pidf, token
from tests.programs import required, required_folder
from tests.wait import until_true

HERE = Path(__file__).parents[1] / "browser"
START = 60.0
"""Seconds that a browser may take to start on a busy machine."""


class Page:
    """What the page has told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.origin = ""

    def texts(self, kind: str) -> list[str]:
        """The texts of one kind, in order."""
        return [text for said, text in self.told if said == kind]

    async def take(self, request: web.Request) -> web.Response:
        """The page tells something."""
        said = json.loads(await request.text())
        self.told.append((said["kind"], said["text"]))
        return web.Response()

    async def tells(self, kind: str, text: str) -> None:
        """Return when it has told this."""
        try:
            await until_true(lambda: text in self.texts(kind), f"the page tells {kind} {text!r}", deadline=START)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told}") from None


@contextlib.asynccontextmanager
async def site(library: Path) -> AsyncIterator[Page]:
    """A web server with the page and SIP.js."""
    page = Page()

    async def html(_: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / "page.html")

    app = web.Application()
    app.add_routes(
        [web.get("/", html), web.post("/told", page.take), web.static("/sip.js", library / "sip.js" / "lib")]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    host, port = runner.addresses[0][:2]
    page.origin = f"http://{host}:{port}"
    try:
        yield page
    finally:
        await runner.cleanup()


def pin(certificate: Path) -> str:
    """The public key's hash, by which the browser is told to trust this one certificate."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.b64encode(digest).decode()


@contextlib.asynccontextmanager
async def browsing(chromium: str, url: str, certificate: Path) -> AsyncIterator[None]:
    """A browser at the URL, ended with all its processes."""
    with open_folder("chromium") as folder:
        process = await asyncio.create_subprocess_exec(
            chromium,
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            f"--ignore-certificate-errors-spki-list={pin(certificate)}",
            url,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            # Debian's program is a script that waits for the browser, which has processes of its own.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await until_true(lambda: not is_group(process.pid), "every process of the browser has ended")


def is_group(number: int) -> bool:
    """Whether a process group has a process."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one() -> AsyncIterator[Secured]:
    """A set with every transport."""
    async with secured() as started_one:
        yield started_one


@pytest.mark.parametrize("transport", ["wss", "ws"])
async def test_out_07_out_10_out_12_a_browser_shows_each_state_and_publishes_its_own(
    transport: str, one: Secured, make_phone: MakePhone
) -> None:
    chromium, library = required("chromium-headless-shell"), required_folder(HERE / "node_modules")
    async with site(library) as page:
        alice, bob = await make_phone(one.running), await make_phone(one.running)
        me = f"sip:{token('browser')}@example.com"
        await bob.subscribed(me)
        tag = await alice.published(body=pidf(alice.aor, note="before it came"))
        host, port = one.running.address(transport)
        asked = {
            "server": f"{transport}://{host}:{port}",
            "me": me,
            "presentity": alice.aor,
            "publish": pidf(me, note="from a browser").decode(),
        }
        async with browsing(chromium, f"{page.origin}/?{urlencode(asked)}", one.files.certificate):
            await page.tells("state", "open before it came")
            await page.tells("subscription", "Subscribed")
            changed = await alice.request(
                alice.publish(if_match=tag, body=pidf(alice.aor, basic="closed", note="Mittag \N{HOT BEVERAGE}"))
            )
            assert changed.status == 200
            await page.tells("state", "closed Mittag \N{HOT BEVERAGE}")
            await bob.notify_where(saying("from a browser"))
            assert page.texts("error") == []
