"""The certificates of TLS, read again when they change."""

import asyncio
import signal

import structlog

from sip_edge.settings import EdgeSettings
from vedette.runtime.process import StartError
from vedette.transport.tls import CertificateError, TlsContexts, TlsFiles

CHECK_INTERVAL = 2.0

log = structlog.get_logger()


def read_certificates(settings: EdgeSettings) -> "Certificates | None":
    """What the settings name, None where they name no certificate. Raises StartError for files that do not work."""
    if settings.tls_certificate is None:
        return None
    files = TlsFiles(
        certificate=settings.tls_certificate,
        key=settings.tls_key,
        client_ca=settings.tls_client_ca,
        ca=settings.tls_ca,
    )
    try:
        contexts = TlsContexts(
            files,
            require_client_certificate=settings.tls_client_certificate == "required",
            check_servers=settings.tls_check_servers,
        )
    except CertificateError as error:
        raise StartError(f"cannot use the certificates of TLS: {error}") from None
    return Certificates(contexts)


class Certificates:
    """Run `watch` as a task."""

    def __init__(self, contexts: TlsContexts) -> None:
        self.contexts = contexts
        self._told = asyncio.Event()
        self._complaint = ""

    async def watch(self) -> None:
        """Read the files again with SIGHUP, and when one has changed; what cannot be used is logged, and not used."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._told.set)
        try:
            while True:
                try:
                    async with asyncio.timeout(CHECK_INTERVAL):
                        await self._told.wait()
                except TimeoutError:
                    if not self.contexts.is_outdated():
                        continue
                self._told.clear()
                self._reload()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    def _reload(self) -> None:
        try:
            self.contexts.reload()
        except CertificateError as error:
            if str(error) != self._complaint:
                log.warning("certificates cannot be used; those from before stay", reason=str(error))
            self._complaint = str(error)
        else:
            self._complaint = ""
            log.info("certificates read again")
