"""The certificate that a set makes for itself."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vedette.transport.tls import TlsContexts, TlsFiles, TlsSession
from vedette_cli.supervisor import own_certificate as module
from vedette_cli.supervisor.own_certificate import own_certificate

HOSTS = ["localhost", "127.0.0.1", "::1", "sip.example.com", "127.0.0.1"]


@pytest.mark.parametrize("name", HOSTS)
def test_a_client_that_was_told_to_trust_it_believes_each_of_the_hosts(name: str, tmp_path: Path) -> None:
    certificate, key = own_certificate(tmp_path / "tls", HOSTS)
    tls = TlsContexts(TlsFiles(certificate, key))
    near = TlsSession(ssl.create_default_context(cafile=str(certificate)), server_side=False, name=name)
    far = TlsSession(tls.server, server_side=True)
    near.start()
    for _ in range(3):
        far.receive(near.to_send())
        near.receive(far.to_send())
    assert (near.is_established, near.problem) == (True, "")


def test_nobody_else_reads_the_key(tmp_path: Path) -> None:
    _, key = own_certificate(tmp_path / "tls", HOSTS)
    assert key.stat().st_mode & 0o077 == 0
    assert key.parent.stat().st_mode & 0o077 == 0


def test_it_stays_while_it_is_good_and_is_made_anew_when_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = own_certificate(tmp_path, HOSTS)
    seen = {certificate.read_bytes()}

    def made_anew() -> bool:
        before = len(seen)
        own_certificate(tmp_path, HOSTS)
        seen.add(certificate.read_bytes())
        return len(seen) > before

    assert not made_anew()
    key.unlink()
    assert made_anew()
    certificate.write_text("nonsense")
    assert made_anew()
    own_certificate(tmp_path, ["localhost"])
    assert made_anew(), "for other hosts"

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "datetime":  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=370)

    assert not made_anew()
    monkeypatch.setattr(module, "datetime", Later)
    assert made_anew(), "before it is over"
