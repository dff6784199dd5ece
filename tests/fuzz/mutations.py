"""What is done to well-formed octets so that they are not: each change is a function of a source of chance."""

import random
import re
from collections.abc import Callable, Sequence

MAX_OCTETS = 60_000
"""No datagram is larger."""

PIECES = (
    b"\0", b"\r\n",
    b"\n", b"\r", b"\r\n ", b"\r\n\r\n", b"\n\n", b" ", b"\t", b",", b";", b'"', b"\\", b"<", b">", b"=",
    b":", b"@", b"%", b"%00", b"%zz", b"*", b"[", b"]", b"?", b"/", b"&", b"&amp;", b"<!--", b"<![CDATA[",
    b"<!DOCTYPE a [", b"<?", b"xmlns:a=''", b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\xe2\x80\xa8", b"\x85", b"\x7f", b"\x1b[31m", b"SIP/2.0", b"sip:", b"sips:", b"tel:+1", b";lr",
    b";tag=", b";branch=", b"z9hG4bK", b"Via: ", b"v:", b"l: ", b"Content-Length: ", b"From: ", b"CSeq: ", b"To: ",
    b"Event: ", b"Require: ", b"Authorization: Digest ", b"{", b"}", b"$1", b"'--", b"%s%n",
)  # fmt: skip
NUMBERS = (
    b"0", b"-0", b"-1", b"1", b"00", b"255", b"256", b"65535", b"2147483647", b"2147483648", b"4294967295",
    b"4294967296", b"18446744073709551616", b"99999999999999999999999999", b"0x10", b"1e9", b"1.5",
    b" 1", b"1 ", b"+1",
    b"", b"\xd9\xa3", b"0" * 300, b"9" * 300,
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-7", "cp500")

_NUMBER = re.compile(rb"[0-9]+")
_LENGTH = re.compile(rb"(?im)^((?:content-length|l)[ \t]*:)[^\r\n]*")
_WORD = re.compile(rb"[A-Za-z]{2,}")

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def _slice(chance: random.Random, data: bytes, longest: int = 64) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.randint(0, longest))


def flip_bits(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Some bits turned over."""
    changed = bytearray(data)
    for _turn in range(chance.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """The end, or the beginning, is missing."""
    place = chance.randint(0, len(data))
    return data[:place] if chance.random() < 0.8 else data[place:]


def cut_out(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A piece is missing."""
    start, end = _slice(chance, data)
    return data[:start] + data[end:]


def double(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A piece comes again, sometimes very often."""
    start, end = _slice(chance, data)
    times = chance.choice((1, 1, 1, 2, 20, 3000))
    return data[:end] + data[start:end] * times + data[end:]


def insert(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A piece that means something is put somewhere, or takes the place of another one."""
    start, end = _slice(chance, data, 8)
    piece = chance.choice(PIECES) if chance.random() < 0.9 else chance.randbytes(chance.randint(1, 16))
    return data[:start] + piece + data[start if chance.random() < 0.7 else end :]


def change_number(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A number is another one, or none."""
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    match = chance.choice(found)
    return data[: match.start()] + chance.choice(NUMBERS) + data[match.end() :]


def lie_about_length(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Content-Length is wrong, or there twice."""
    number = chance.choice((*NUMBERS, b"%d" % chance.randint(0, 2 * len(data)), b"1\r\nl: 2"))
    return _LENGTH.sub(lambda match: match[1] + b" " + number, data, count=1)


def _rows(data: bytes) -> tuple[list[bytes], bytes]:
    head, separator, body = data.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), separator + body


def swap_rows(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Header rows change places, names and values included or not."""
    rows, rest = _rows(data)
    if len(rows) > 2:
        first, second = chance.randrange(1, len(rows)), chance.randrange(1, len(rows))
        if chance.random() < 0.5:
            rows[first], rows[second] = rows[second], rows[first]
        else:
            name, value = rows[first].partition(b":")[0], rows[second].partition(b":")[2]
            rows[first] = name + b":" + value
    return b"\r\n".join(rows) + rest


def repeat_row(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A header row comes twice, or hundreds of times, or not at all."""
    rows, rest = _rows(data)
    place = chance.randrange(len(rows))
    rows[place : place + 1] = [rows[place]] * chance.choice((0, 0, 2, 2, 3, 300))
    return b"\r\n".join(rows) + rest


def fold(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """White space becomes a fold, or line ends are those of another system."""
    if chance.random() < 0.3:
        return data.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\n\r", b"\r\r\n")))
    places = [place for place, octet in enumerate(data) if octet == 0x20]
    if not places:
        return data
    place = chance.choice(places)
    return (
        data[:place] + chance.choice((b"\r\n ", b"\r\n\t", b"\r\n  \r\n ", b"\n ", b"\t", b"  ")) + data[place + 1 :]
    )


def change_word(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A word in another case, or another word of the message in its place."""
    found = list(_WORD.finditer(data))
    if not found:
        return data
    match, other = chance.choice(found), chance.choice(found)
    word = chance.choice((match[0].swapcase(), other[0], match[0] * 2, b""))
    return data[: match.start()] + word + data[match.end() :]


def encode_otherwise(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """The whole, or the body alone, in another encoding."""
    head, separator, body = data.partition(b"\r\n\r\n")
    text = (body or head).decode("utf-8", "replace").encode(chance.choice(ENCODINGS), "replace")
    return head + separator + text if body else text


def splice(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The beginning of one and the end of another."""
    other = chance.choice(others) if others else data
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, truncate, cut_out, double, insert, insert, change_number, lie_about_length, swap_rows, repeat_row,
    fold, change_word, encode_otherwise, splice,
)  # fmt: skip


def mutate(chance: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The octets after one to four changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        data = chance.choice(MUTATIONS)(chance, data, others)[:MAX_OCTETS]
    return data
