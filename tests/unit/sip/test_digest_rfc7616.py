"""Digest credentials (RFC 7616, RFC 8760, RFC 3261 section 22)."""

import hashlib
import json
from typing import Any

import pytest
from sipmessage import AuthCredentials

from tests.vectors import FOLDER, needs_vectors
from vedette.sip.digest import Challenge, Credentials, authorize, choose, parse_challenge
from vedette.sip.errors import SipError

MUFASA = Credentials("Mufasa", "Circle of Life")


def known_answers() -> list[dict[str, Any]]:
    path = FOLDER / "auth" / "digest.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["vectors"]) if path.exists() else []


def answer(
    asked: Challenge, *, user: Credentials = MUFASA, body: bytes = b"", **changes: Any
) -> dict[str, str | None]:
    """The parameters of the Authorization that answers the challenge, read by another implementation."""
    facts: dict[str, Any] = {"method": "PUBLISH", "uri": "sip:a@b", "cnonce": "0a4f113b", "count": 1} | changes
    credentials = AuthCredentials.parse(authorize(asked, user, body=body, **facts))
    assert credentials.scheme == "Digest"
    assert credentials.parameters is not None
    return dict(credentials.parameters)


def challenge(algorithm: str = "MD5", qop: tuple[str, ...] = ("auth",), opaque: str | None = None) -> Challenge:
    return Challenge(realm="r", nonce="n", algorithm=algorithm, opaque=opaque, qop=qop, stale=False)


def digest(name: str, *parts: str) -> str:
    return hashlib.new(name, ":".join(parts).encode()).hexdigest()


@needs_vectors
@pytest.mark.parametrize("case", known_answers(), ids=lambda case: f"{case['ref']} {case['algorithm']}")
def test_known_answers(case: dict[str, Any]) -> None:
    asked = Challenge(case["realm"], case["nonce"], case["algorithm"], None, (case["qop"],), stale=False)
    user = Credentials(case["username"], case["password"])
    given = answer(
        asked, user=user, method=case["method"], uri=case["uri"], cnonce=case["cnonce"], count=int(case["nc"], 16)
    )
    assert given["response"] == case["response"]
    assert (given["nc"], given["qop"]) == (case["nc"], case["qop"])


@pytest.mark.parametrize(
    ("algorithm", "name"), [("MD5", "md5"), ("SHA-256", "sha256"), ("SHA-512-256", "sha512_256")]
)
def test_each_algorithm_with_each_quality_of_protection(algorithm: str, name: str) -> None:
    secret = digest(name, "Mufasa", "r", "Circle of Life")
    session = digest(name, secret, "n", "0a4f113b")
    plain = digest(name, "PUBLISH", "sip:a@b")
    whole = digest(name, "PUBLISH", "sip:a@b", hashlib.new(name, b"body").hexdigest())
    tail = "00000001:0a4f113b"
    expected = {
        ("", ()): digest(name, secret, "n", plain),
        ("", ("auth",)): digest(name, secret, "n", tail, "auth", plain),
        ("", ("auth-int",)): digest(name, secret, "n", tail, "auth-int", whole),
        ("-SESS", ()): digest(name, session, "n", plain),
        ("-SESS", ("auth-int", "auth")): digest(name, session, "n", tail, "auth", plain),
    }
    for (session_suffix, qop), response in expected.items():
        assert answer(challenge(algorithm + session_suffix, qop), body=b"body")["response"] == response
    publish, subscribe = (answer(challenge(algorithm), method=method) for method in ("PUBLISH", "SUBSCRIBE"))
    assert publish["response"] != subscribe["response"]


def test_the_digest_of_no_body_is_that_of_nothing() -> None:
    a2 = digest("md5", "SUBSCRIBE", "sip:a@b", hashlib.md5(b"").hexdigest())
    response = digest("md5", digest("md5", "Mufasa", "r", "Circle of Life"), "n", "00000001:0a4f113b:auth-int", a2)
    assert answer(challenge(qop=("auth-int",)), method="SUBSCRIBE")["response"] == response


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (challenge(), {"qop", "nc", "cnonce"}),
        (challenge(qop=()), set()),
        (challenge(qop=("token",)), set()),
        (challenge("MD5-SESS", qop=()), {"cnonce"}),
        (challenge(opaque="o"), {"qop", "nc", "cnonce", "opaque"}),
        (challenge(opaque=""), {"qop", "nc", "cnonce", "opaque"}),
    ],
)
def test_an_answer_has_these_parameters(asked: Challenge, names: set[str]) -> None:
    given = answer(asked, count=0x1F)
    assert set(given) == {"username", "realm", "nonce", "uri", "response", "algorithm"} | names
    assert given.get("nc", "0000001f") == "0000001f"
    assert given["algorithm"] == asked.algorithm.replace("-SESS", "-sess")


def test_what_is_quoted_is_escaped_and_what_is_not_is_bare() -> None:
    asked = Challenge('a "realm"\\', "n", "SHA-256", "o", ("auth",), stale=False)
    text = authorize(asked, Credentials('q"', "p"), method="PUBLISH", uri="sip:a@b", body=b"", cnonce="c", count=1)
    assert 'username="q\\""' in text
    assert 'realm="a \\"realm\\"\\\\"' in text
    assert ", algorithm=SHA-256, qop=auth, nc=00000001, " in text


CHALLENGES = [
    ('Digest realm="r", nonce="n"', Challenge("r", "n", "MD5", None, (), stale=False)),
    ('digest realm="r",nonce="n",algorithm=sha-256', Challenge("r", "n", "SHA-256", None, (), stale=False)),
    (
        'Digest  REALM = "a, \\"b\\"" , nonce="n==", qop="auth, auth-int", opaque="", stale=TRUE, algorithm=MD5-sess',
        Challenge('a, "b"', "n==", "MD5-SESS", "", ("auth", "auth-int"), stale=True),
    ),
    ('Digest realm="r", nonce="n", qop=auth, stale=false', Challenge("r", "n", "MD5", None, ("auth",), stale=False)),
    ('Digest realm="r", nonce="n", and then rubbish', Challenge("r", "n", "MD5", None, (), stale=False)),
]


@pytest.mark.parametrize(("row", "expected"), CHALLENGES)
def test_challenges(row: str, expected: Challenge) -> None:
    assert parse_challenge(row) == expected


@pytest.mark.parametrize(
    "row",
    [
        "",
        "Digest",
        'Basic realm="r"',
        'Digest realm="r"',
        'Digest nonce="n"',
        'Digest realm="r, nonce="n"',
        "Digest a" * 100,
    ],
)
def test_challenges_that_are_no_digest_or_lack_something(row: str) -> None:
    with pytest.raises(SipError, match="Challenge"):
        parse_challenge(row)


@pytest.mark.parametrize(
    ("algorithms", "chosen"),
    [
        (["MD5"], "MD5"),
        (["MD5", "SHA-256", "SHA-512-256"], "SHA-512-256"),
        (["SHA-256", "MD5"], "SHA-256"),
        (["NewSuper", "MD5"], "MD5"),
        (["SHA-256-sess", "MD5"], "SHA-256-SESS"),
        (["NewSuper"], None),
        ([], None),
    ],
)
def test_the_strongest_algorithm_that_we_know_is_chosen(algorithms: list[str], chosen: str | None) -> None:
    rows = ['Basic realm="r"', *(f'Digest realm="r", nonce="n", algorithm={name}' for name in algorithms)]
    found = choose(rows)
    assert (found.algorithm if found is not None else None) == chosen
