"""The server's side of digest (RFC 7616 sections 3.3 and 3.4, RFC 8760; rows AUT-04, AUT-05, AUT-09, AUT-12)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sipmessage import AuthChallenge

from tests.vectors import FOLDER, needs_vectors
from vedette.sip.digest import (
    HASHES,
    Challenge,
    Credentials,
    Proof,
    authorize,
    parse_challenge,
    proves,
    read_proof,
    secret_of,
    write_challenge,
)
from vedette.sip.errors import SipError

MUFASA = Credentials("Mufasa", "Circle of Life")
ROW = (
    'Digest username="Mufasa", realm="r", nonce="n", uri="sip:a@b", response="00", algorithm=SHA-256, qop=auth, '
    'nc=0000000A, cnonce="c"'
)


def known_answers() -> list[dict[str, Any]]:
    path = FOLDER / "auth" / "digest.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["vectors"]) if path.exists() else []


def proof_of(row: str, realm: str = "r") -> Proof:
    proof = read_proof(row, realm)
    assert proof is not None
    return proof


@needs_vectors
@pytest.mark.parametrize("case", known_answers(), ids=lambda case: f"{case['ref']} {case['algorithm']}")
def test_aut_05_known_answers_are_proofs(case: dict[str, Any]) -> None:
    names = ("username", "realm", "nonce", "uri", "response", "cnonce")
    row = ", ".join(f'{name}="{case[name]}"' for name in names)
    proof = proof_of(
        f"Digest {row}, algorithm={case['algorithm']}, qop={case['qop']}, nc={case['nc']}", case["realm"]
    )
    ha1 = secret_of(case["algorithm"], Credentials(case["username"], case["password"]), case["realm"])
    assert proves(proof, ha1, case["method"])
    assert not proves(proof, ha1, "PUBLISH")


@pytest.mark.parametrize("session", ["", "-SESS"])
@pytest.mark.parametrize("algorithm", HASHES)
def test_aut_05_what_our_client_shows_proves_who_it_is(algorithm: str, session: str) -> None:
    asked = Challenge("r", "n", algorithm + session, None, ("auth",), stale=False)
    row = authorize(asked, MUFASA, method="PUBLISH", uri="sip:a@b", body=b"", cnonce="c", count=10)
    proof = proof_of(row)
    assert (proof.count, proof.hash, proof.nc) == (10, algorithm, "0000000a")
    assert proves(proof, secret_of(algorithm, MUFASA, "r"), "PUBLISH")
    assert not proves(proof, secret_of(algorithm, MUFASA, "R"), "PUBLISH")
    assert not proves(proof, secret_of(algorithm, Credentials("Mufasa", "circle of life"), "r"), "PUBLISH")


def test_a_count_in_capitals_is_hashed_as_it_was_written() -> None:
    assert (proof_of(ROW).nc, proof_of(ROW).count) == ("0000000A", 10)


@pytest.mark.parametrize("stale", [False, True])
def test_aut_03_04_a_challenge_quotes_what_has_to_be_quoted(*, stale: bool) -> None:
    text = write_challenge('a "b"', "n", "SHA-512-256", stale=stale)
    tail = ", stale=true" if stale else ""
    assert text == f'Digest realm="a \\"b\\"", nonce="n", algorithm=SHA-512-256, qop="auth"{tail}'
    assert parse_challenge(text) == Challenge('a "b"', "n", "SHA-512-256", None, ("auth",), stale=stale)
    read = AuthChallenge.parse(text)
    assert read.parameters is not None
    assert dict(read.parameters)["algorithm"] == "SHA-512-256"


@pytest.mark.parametrize(
    "row",
    [
        "",
        "Digest",
        "Basic YTpi",
        ROW.replace("Digest", "NoOneKnowsThisScheme"),
        ROW.replace("SHA-256", "SHA-3"),
        ROW.replace("SHA-256", "SHA-256-TWICE"),
        ROW.replace("qop=auth, ", ""),
        ROW.replace("qop=auth", "qop=auth-int"),
        ROW.replace('nonce="n"', f'nonce="{"n" * 2048}"'),
    ],
)
def test_aut_11_12_what_we_do_not_ask_for_is_as_good_as_nothing(row: str) -> None:
    assert read_proof(row, "r") is None


@pytest.mark.parametrize(
    "row",
    [
        ROW.replace('username="Mufasa", ', ""),
        ROW.replace('"Mufasa"', '""'),
        ROW.replace('username="Mufasa"', "username*=UTF-8''Mufasa"),
        ROW.replace('response="00", ', ""),
        ROW.replace("nc=0000000A, ", ""),
        ROW.replace("0000000A", "000000A"),
        ROW.replace("0000000A", "00000000A"),
        ROW.replace("0000000A", "+000000A"),
        ROW.replace('cnonce="c"', "cnonce="),
        ROW + ", rubbish",
        ROW + ', realm="s"',
        ROW.replace('"c"', '"c'),
    ],
)
def test_aut_09_what_breaks_the_grammar_is_malformed(row: str) -> None:
    with pytest.raises(SipError) as error:
        read_proof(row, "r")
    assert error.value.status == 400


def test_aut_14_a_row_of_another_realm_is_passed_over_whatever_it_says() -> None:
    assert read_proof(ROW, "r") is not None
    assert read_proof(ROW.replace('"r"', '"a \\"b\\""'), 'a "b"') is not None
    for row in (ROW, ROW + ", rubbish", ROW + ', realm="s"', ROW.replace("0000000A", "A")):
        assert read_proof(row, "s") is None
        assert read_proof(row, "R") is None


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for row in (text, f"Digest {text}", f"{ROW}, {text}", ROW.replace("Mufasa", text)):
        try:
            proof = read_proof(row, "r")
        except SipError:
            continue
        if proof is not None:
            assert not proves(proof, "0" * 64, "PUBLISH")
