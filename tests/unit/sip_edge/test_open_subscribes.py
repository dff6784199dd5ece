"""No NOTIFY overtakes the 2xx of its SUBSCRIBE (rows SUB-02, SUB-33; clients.md 4)."""

from sip_edge.flows.open_subscribes import OpenSubscribes

ONE, TWO = ("call-1", "tag"), ("call-2", "tag")


def test_nothing_is_held_while_no_subscribe_is_open() -> None:
    opened = OpenSubscribes()
    released: list[str] = []
    assert not opened.hold(ONE, lambda: released.append("a"))
    opened.opened(ONE)
    opened.closed(ONE)
    assert not opened.hold(ONE, lambda: released.append("b"))
    assert released == []


def test_sub_02_what_is_held_leaves_in_its_order_once_the_2xx_is_written() -> None:
    opened = OpenSubscribes()
    released: list[str] = []
    opened.opened(ONE)
    assert opened.hold(ONE, lambda: released.append("a"))
    assert opened.hold(ONE, lambda: released.append("b"))
    assert released == []
    opened.closed(ONE)
    assert released == ["a", "b"]


def test_other_dialogs_wait_for_nothing() -> None:
    opened = OpenSubscribes()
    released: list[str] = []
    opened.opened(ONE)
    assert not opened.hold(TWO, lambda: None)
    assert not opened.hold(("call-1", "other tag"), lambda: None)
    opened.opened(TWO)
    assert opened.hold(TWO, lambda: released.append("two"))
    opened.closed(ONE)
    assert released == []
    opened.closed(TWO)
    assert released == ["two"]


def test_with_several_subscribes_of_a_dialog_open_the_last_one_counts() -> None:
    opened = OpenSubscribes()
    released: list[str] = []
    opened.opened(ONE)
    opened.opened(ONE)
    opened.hold(ONE, lambda: released.append("a"))
    opened.closed(ONE)
    assert released == []
    assert opened.hold(ONE, lambda: released.append("b"))
    opened.closed(ONE)
    assert released == ["a", "b"]


def test_what_is_let_go_may_find_the_dialog_open_again() -> None:
    opened = OpenSubscribes()
    released: list[str] = []

    def again() -> None:
        opened.opened(ONE)
        assert opened.hold(ONE, lambda: released.append("later"))

    opened.opened(ONE)
    opened.hold(ONE, again)
    opened.closed(ONE)
    assert released == []
    opened.closed(ONE)
    assert released == ["later"]
    assert not opened.hold(ONE, again)
