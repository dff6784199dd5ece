"""A certificate that a set makes for itself, so that TLS can be tried before there is a real one."""

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=397)
"""No longer than browsers take."""
RENEWED_BEFORE = timedelta(days=30)


def own_certificate(folder: Path, hosts: Sequence[str]) -> tuple[Path, Path]:
    """The files of a certificate, signed by itself, for these names and addresses, and of its key.

    What is in the folder stays while it is valid and for the same hosts, so that a client that was told to trust it
    goes on. Raises OSError.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_good(certificate, key, hosts):
        _make(certificate, key, hosts)
    return certificate, key


def _is_good(certificate: Path, key: Path, hosts: Sequence[str]) -> bool:
    if not key.is_file():
        return False
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    return list(names) == _names(hosts) and found.not_valid_after_utc - RENEWED_BEFORE > datetime.now(UTC)


def _make(certificate: Path, key: Path, hosts: Sequence[str]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Vedette, for development")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    octets = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(octets)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    return [_name(host) for host in dict.fromkeys(hosts)]


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
