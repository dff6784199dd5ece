"""What the phones of the load make of what they get."""

import pytest

from bench.phones import answer_to_notify, percentile

NOTIFY = (
    b"NOTIFY sip:w17@127.0.0.1:5070 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKone\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bKtwo\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;tag=2\r\n"
    b"Call-ID: c\r\nCSeq: 7 NOTIFY\r\nEvent: presence\r\nContent-Length: 9\r\n\r\nVia: body"
)


def test_the_answer_to_a_notify_has_the_headers_that_are_to_be_copied_and_no_others() -> None:
    assert answer_to_notify(NOTIFY) == (
        b"SIP/2.0 200 OK\r\n"
        b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKone\r\n"
        b"Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bKtwo\r\n"
        b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>;tag=2\r\nCall-ID: c\r\nCSeq: 7 NOTIFY\r\n"
        b"Content-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("seconds", "count", "part", "milliseconds"),
    [
        ([0.001, 0.002, 0.003], 3, 0.5, 2),
        ([0.001, 0.002, 0.003], 3, 0.99, 3),
        ([n / 1000 for n in range(1, 201)], 200, 0.99, 199),
        ([0.001, 0.002], 3, 0.99, None),
        ([0.001, 0.002], 3, 0.5, 2),
        ([], 1, 0.5, None),
        ([], 0, 0.5, None),
    ],
)
def test_what_never_came_counts_as_endless(
    seconds: list[float], count: int, part: float, milliseconds: float | None
) -> None:
    assert percentile(seconds, count, part) == (None if milliseconds is None else pytest.approx(milliseconds))
