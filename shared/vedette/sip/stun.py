"""STUN Binding on the SIP port: clients keep a NAT open and learn how they look (RFC 5626 section 8, RFC 8489)."""

import ipaddress
import struct

_COOKIE = 0x2112A442
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_BINDING_REQUEST, _BINDING_SUCCESS, _BINDING_ERROR = 0x0001, 0x0101, 0x0111
_XOR_MAPPED_ADDRESS, _ERROR_CODE, _UNKNOWN_ATTRIBUTES = 0x0020, 0x0009, 0x000A
_PASSED_OVER = frozenset({0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E})
"""Of those that a server has to know: credentials, which nobody asks for here."""
_OPTIONAL = 0x8000


def answer_binding(data: bytes, host: str, port: int) -> bytes | None:
    """The response to a Binding request that came from `host` and `port`; None for what is none."""
    if len(data) < _HEADER.size:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or length % 4 or len(data) != _HEADER.size + length:
        return None
    unknown: list[int] = []
    place = _HEADER.size
    while place < len(data):
        name, size = _ATTRIBUTE.unpack_from(data, place)
        place += _ATTRIBUTE.size + (size + 3) // 4 * 4
        if place > len(data):
            return None
        if name < _OPTIONAL and name not in _PASSED_OVER:
            unknown.append(name)
    if unknown:
        names = b"".join(name.to_bytes(2, "big") for name in unknown[:8])
        error = _attribute(_ERROR_CODE, b"\0\0\4\x14Unknown Attribute")
        return _message(_BINDING_ERROR, transaction, error + _attribute(_UNKNOWN_ATTRIBUTES, names))
    address = ipaddress.ip_address(host.partition("%")[0])
    mask = _COOKIE.to_bytes(4, "big") + transaction
    hidden = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    value = struct.pack("!BBH", 0, 1 if address.version == 4 else 2, port ^ (_COOKIE >> 16)) + hidden
    return _message(_BINDING_SUCCESS, transaction, _attribute(_XOR_MAPPED_ADDRESS, value))


def _attribute(name: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(name, len(value)) + value + bytes(-len(value) % 4)


def _message(kind: int, transaction: bytes, attributes: bytes) -> bytes:
    return _HEADER.pack(kind, len(attributes), _COOKIE, transaction) + attributes
