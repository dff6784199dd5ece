"""`vedette up` with TLS and WebSocket: options, the certificate of its own, and what stops the start."""

import socket
from pathlib import Path

import pytest

from tests.clusters import lay_cluster
from tests.conformance.secured import secured
from tests.folders import open_folder
from tests.phone import opened, pidf
from tests.running_set import run, start

TLS = ("--tls-port", "0", "--wss-port", "0")


async def test_without_a_certificate_it_makes_one_that_stays_over_restarts() -> None:
    with open_folder("own") as data:
        await lay_cluster(data)
        shown: list[bytes] = []
        for _ in range(2):
            running = await start(data, ["--cores", "1", *TLS])
            try:
                running.ca = data / "tls" / "certificate.pem"
                assert any(str(running.ca) in line for line in running.output)
                shown.append(running.ca.read_bytes())
                for transport in ("tls", "wss"):
                    async with opened(running, transport=transport) as phone:
                        assert (await phone.request(phone.publish(body=pidf(phone.aor)))).status == 200
                assert "ws" not in running.others
            finally:
                await running.stop()
        assert shown[0] == shown[1]


@pytest.mark.parametrize("option", ["--tls-port", "--ws-port", "--wss-port"])
async def test_a_port_that_is_taken_is_told_with_its_option(option: str) -> None:
    with socket.socket() as taken, open_folder("refused") as data:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = await run("up", "--sip-port", "0", "--api-port", "0", "--data", str(data), option, port)
        assert code == 1
        kind = option.removeprefix("--").partition("-")[0].upper()
        assert f"cannot listen on 127.0.0.1:{port} (TCP, for {kind})" in err
        assert option in err


async def test_a_certificate_that_cannot_be_used_stops_the_start_and_is_named(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    with open_folder("refused") as data:
        for file in (nonsense, tmp_path / "missing.pem"):
            code, _, err = await run(
                *("up", "--sip-port", "0", "--api-port", "0", "--cores", "1", "--data", str(data)),
                *("--tls-port", "0", "--tls-certificate", str(file)),
            )
            assert code == 1
            assert f"cannot use the certificates of TLS: {file}" in err


async def test_edges_that_come_later_share_the_ports() -> None:
    async with secured() as one:
        await one.running.scale("edge=3")
        await one.running.all_ready()
        for transport in ("tls", "ws", "wss"):
            for _ in range(10):
                async with opened(one.running, transport=transport) as phone:
                    assert (await phone.request(phone.publish(body=pidf(phone.aor)))).status == 200


async def test_the_commands_publish_and_fetch_over_tls_and_believe_nobody_else() -> None:
    async with secured() as one:
        server = ("--server", f"127.0.0.1:{one.running.others['tls'][1]}", "--transport", "tls")
        code, out, err = await run("publish", "sip:alice@example.com", *server, "--ca", str(one.authority.file))
        assert (code, err) == (0, "")
        assert out.startswith("published sip:alice@example.com")
        watch = ("watch", "sip:alice@example.com", "--as", "sip:bob@example.com", "--fetch", *server)
        code, out, err = await run(*watch, "--ca", str(one.authority.file))
        assert (code, err) == (0, "")
        assert "sip:alice@example.com open" in out
        code, _, err = await run(*watch)
        assert (code, "cannot reach" in err) == (1, True), "the system does not know that authority"
        code, _, err = await run(*watch, "--ca", str(one.files.key))
        assert (code, "--ca: " in err) == (2, True)
