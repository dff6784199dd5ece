"""What is well-formed is read as another reader has it: `sipmessage`, as oracle (MSG-53)."""

import random
import string

import sipmessage
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sip.messages import wire
from vedette.sip.address import parse_address
from vedette.sip.grammar import split_list
from vedette.sip.message import Request
from vedette.sip.reader import read_message
from vedette.sip.uri import parse_uri
from vedette.sip.via import parse_via

LETTERS = string.ascii_letters + string.digits
TOKEN = f"{LETTERS}-.!*_+`'~"
"""Without the percent sign: the oracle takes it for an escape everywhere."""
USER = f"{LETTERS}-_.!~*'()&=+$,;?/"
COMPACT = {"Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Content-Length": "l"}
QUOTED = ('"Bob" ', '"a, \\"b\\" <c>" ', '"\u00fc;tag=1" ', '"sip:x@y>"')


class Writer:
    """Writes requests without a fault, from chance alone."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def one_of(self, *choices: str) -> str:
        return self._chance.choice(choices)

    def some(self, characters: str) -> str:
        return "".join(self._chance.choices(characters, k=self._chance.randint(1, 12)))

    def host(self) -> str:
        name = self.one_of("example.com", "a-b.example", "h", "192.0.2.1", "[2001:db8::1]", "[::1]", "EXAMPLE.com.")
        return name + self.one_of("", "", ":5060", ":1", ":65535")

    def uri(self) -> str:
        user = self.one_of("", f"{self.some(USER)}@", f"{self.some(USER)}@")
        return f"{self.one_of('sip', 'sips')}:{user}{self.host()}" + self.one_of(
            "", ";transport=tcp", ";lr", f";x={self.some(LETTERS)};lr", ";maddr=192.0.2.7;ttl=1"
        )

    def parameters(self, *, alone: bool = True) -> str:
        kinds = ["", f";tag={self.some(TOKEN)}", f" ; y ; tag = {self.some(TOKEN)}"]
        return self.one_of(*kinds, *([f';x="a b";tag={self.some(TOKEN)}'] if alone else []))

    def address(self, *, alone: bool = True) -> str:
        """Quoted, or without brackets, only where it is alone: the oracle reads on to the row's last quotation mark,
        and takes the comma for a part of the URI."""
        if alone and self._chance.random() < 0.2:
            return f"sip:{self.some(LETTERS)}@{self.host()}{self.parameters()}"
        name = self.one_of("", "Bob ", "A B  C ", *(QUOTED if alone else ()))
        return f"{name}<{self.uri()}>{self.parameters(alone=alone)}"

    def via(self) -> str:
        more = self.one_of("", ";rport", ";received=192.0.2.9;rport=7", ";alias", " ; x = q")
        return (
            f"SIP/2.0/{self.one_of('UDP', 'TCP', 'TLS', 'WS')} {self.host()};branch=z9hG4bK{self.some(TOKEN)}{more}"
        )

    def several(self, name: str, values: list[str]) -> list[tuple[str, str]]:
        """In one row, or in one each; not folded, which the oracle cannot read."""
        shape = self._chance.randrange(3)
        if shape == 0:
            return [(name, value) for value in values]
        return [(name, (", ", ",   ")[shape - 1].join(values))]

    def request(self) -> bytes:
        body = self._chance.randbytes(self._chance.randrange(40))
        rows = [
            *self.several("Via", [self.via() for _ in range(self._chance.randint(1, 4))]),
            ("From", self.address()),
            ("To", self.address()),
            ("Call-ID", self.one_of(self.some(TOKEN), f"{self.some(TOKEN)}@{self.some(LETTERS)}")),
            ("CSeq", f"{self._chance.choice((0, 1, 2**31 - 1, self._chance.randrange(2**31)))} SUBSCRIBE"),
            *self.several("Contact", [self.address(alone=False) for _ in range(self._chance.randint(1, 3))]),
            ("Content-Length", str(len(body))),
        ]
        if self._chance.random() < 0.5:
            rows = [(COMPACT.get(name, name), value) for name, value in rows]
        elif self._chance.random() < 0.2:
            rows = [(name.swapcase(), value) for name, value in rows]
        return wire(rows, start=f"SUBSCRIBE {self.uri()} SIP/2.0", body=body)


def same_uri(ours: str, theirs: sipmessage.URI) -> None:
    mine = parse_uri(ours)
    password = "" if theirs.password is None else f":{theirs.password}"
    user = None if theirs.user is None else theirs.user + password
    assert (mine.scheme, mine.user, mine.host, mine.port) == (theirs.scheme, user, theirs.host, theirs.port)
    assert {name: mine.parameter(name) or None for name in theirs.parameters} == dict(theirs.parameters)
    assert mine.parameters.count(";") == len(theirs.parameters)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_msg_53_a_well_formed_request_is_read_as_another_reader_has_it(seed: int) -> None:
    data = Writer(seed).request()
    theirs, ours = sipmessage.Message.parse(data), read_message(data)
    assert isinstance(ours, Request)
    assert isinstance(theirs, sipmessage.Request)
    ours.check()
    assert (ours.method, ours.body, ours.call_id) == (theirs.method, theirs.body, theirs.call_id)
    same_uri(ours.uri, theirs.uri)
    assert ours.cseq == (theirs.cseq.sequence, theirs.cseq.method)
    for mine, other in zip(map(parse_via, ours.vias), theirs.via, strict=True):
        assert (mine.transport, mine.host, mine.port) == (other.transport, other.host, other.port)
        assert mine.parameters == unquoted(other.parameters)
    contacts = [parse_address(item, "Contact") for row in ours.headers.all("contact") for item in split_list(row)]
    pairs = [(ours.from_, theirs.from_address), (ours.to, theirs.to_address)]
    for address, oracle in [*pairs, *zip(contacts, theirs.contact, strict=True)]:
        same_uri(address.uri, oracle.uri)
        assert address.parameters == unquoted(oracle.parameters)
        assert " ".join(address.display.split()) in {oracle.name, sipmessage.address.quote(oracle.name)}


def unquoted(parameters: sipmessage.Parameters) -> dict[str, str | None]:
    """The oracle keeps the quotation marks."""
    return {name: value if value is None else value.strip('"') for name, value in parameters.items()}
