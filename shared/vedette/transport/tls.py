"""TLS without I/O, and the certificates it uses, which may change while it runs."""

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 65536


class CertificateError(Exception):
    """Files that TLS cannot work with; the text names the file and says what is wrong."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What the contexts are made of, all PEM."""

    certificate: Path | None
    """Ours, followed by those of the authorities between it and the root; None: we only connect, and show none."""
    key: Path | None = None
    """None: in the file of the certificate."""
    client_ca: Path | None = None
    """Authorities of client certificates; None: clients are not asked for one."""
    ca: Path | None = None
    """Authorities of the servers that we connect to; None: those of the system."""


class TlsContexts:
    """The contexts of new connections; those that are open keep what they were opened with."""

    def __init__(
        self, files: TlsFiles, *, require_client_certificate: bool = True, check_servers: bool = True
    ) -> None:
        """Raises CertificateError. `check_servers`: whether the far end of a connection of ours has to prove itself.

        `require_client_certificate`: with a `client_ca`, whether those without a certificate are refused.
        """
        self._files = files
        self._require = require_client_certificate
        self._check_servers = check_servers
        self._stamp: tuple[tuple[int, int, int], ...] = ()
        self.server, self.client = self._load()

    def reload(self) -> None:
        """Read the files again. Raises CertificateError, and goes on with what was there before."""
        self.server, self.client = self._load()

    def is_outdated(self) -> bool:
        """Whether a file is another one than was read."""
        try:
            return self._stamp_now() != self._stamp
        except OSError:
            return True

    def _stamp_now(self) -> tuple[tuple[int, int, int], ...]:
        files = self._files
        stats = [
            path.stat() for path in (files.certificate, files.key, files.client_ca, files.ca) if path is not None
        ]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        files = self._files
        with _told(files.certificate or files.ca):
            stamp = self._stamp_now()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (server, client):
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
            if files.certificate is None:
                continue
            with _told(files.certificate):
                # Without a password of our own OpenSSL would ask for one on the terminal.
                context.load_cert_chain(files.certificate, files.key, password=lambda: "")
        if files.client_ca is not None:
            with _told(files.client_ca):
                server.load_verify_locations(files.client_ca)
            server.verify_mode = ssl.CERT_REQUIRED if self._require else ssl.CERT_OPTIONAL
        if not self._check_servers:
            client.check_hostname = False
            client.verify_mode = ssl.CERT_NONE
        elif files.ca is not None:
            with _told(files.ca):
                client.load_verify_locations(files.ca)
        else:
            client.load_default_certs()
        self._stamp = stamp
        return server, client


class _told(contextlib.AbstractContextManager[None]):  # noqa: N801
    """Around the reading of a file: what fails names it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ssl.SSLError):
            reason = error.reason or str(error)
            raise CertificateError(f"{self._path}: {reason.replace('_', ' ').lower()}") from None
        if isinstance(error, OSError):
            name = error.filename or self._path
            raise CertificateError(f"{name}: {error.strerror}") from None


class TlsSession:
    """One connection: octets in, plain text out, and what has to be sent for it."""

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, name: str = "") -> None:
        """`name`: host name or address that the certificate of the far end has to name, for connections of ours."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=name or None
        )
        self.is_established = False
        self.is_over = False
        """The far end has closed, or something was wrong: nothing more comes, nothing more may be sent."""
        self.problem = ""
        """What was wrong."""

    def start(self) -> None:
        """Say the first word, where it is ours."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """The plain text in these octets."""
        self._incoming.write(data)
        if not self.is_established:
            self._shake_hands()
        chunks: list[bytes] = []
        try:
            while self.is_established and not self.is_over:
                chunk = self._object.read(_CHUNK)
                if not chunk:
                    self.is_over = True
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_over = True
        except ssl.SSLError as error:
            self._failed(error)
        return b"".join(chunks)

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._failed(error)
            return
        self.is_established = True

    def _failed(self, error: Exception) -> None:
        self.is_over = True
        self.problem = getattr(error, "reason", None) or str(error)

    def send(self, plain: bytes) -> None:
        """Have this sent; only while established and not over."""
        self._object.write(plain)

    def to_send(self) -> bytes:
        """The octets that have to leave, taken out."""
        return self._outgoing.read()

    def close(self) -> None:
        """Say that nothing more follows."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
