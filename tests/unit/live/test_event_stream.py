"""Server-sent events as the standard has them."""

import pytest

from vedette_cli.live.event_stream import ServerEvent, read_events


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: a\n\n", [("", "message", "a")]),
        ("id: 1\nevent: notify\ndata: a\ndata: b\n\n", [("1", "notify", "a\nb")]),
        (": alive\n\ndata:a\r\n\r\n", [("", "message", "a")]),
        ("id: 1\ndata: a\n\ndata: b\n\n", [("1", "message", "a"), ("1", "message", "b")]),
        ("id: 1\ndata: a\n\nid\ndata: b\n\n", [("1", "message", "a"), ("", "message", "b")]),
        ("id: 1\n\ndata: a\n\n", [("1", "message", "a")]),
        ("event: notify\n\ndata: a\n\n", [("", "message", "a")]),
        ("id: \0\nretry: 5\nnothing\ndata:  a\n\n", [("", "message", " a")]),
        ("data: cut off\n", []),
        ("data\n\n", [("", "message", "")]),
    ],
)
def test_events_are_read_line_by_line(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert list(read_events(text.encode().splitlines(keepends=True))) == [ServerEvent(*one) for one in expected]


def test_the_last_id_of_an_earlier_connection_goes_on() -> None:
    assert list(read_events([b"data: a\n", b"\n"], "7")) == [ServerEvent("7", "message", "a")]
