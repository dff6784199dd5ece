"""No octets make a reader do anything but read or refuse (MSG-50, MSG-53, SEC-07)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_msg_53_every_seed_is_read_or_refused(name: str) -> None:
    for seed in TARGETS[name].seeds():
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_msg_50_msg_53_no_mutation_breaks_a_reader(name: str, seed: int) -> None:
    target = TARGETS[name]
    target.run(target.input(seed))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_msg_53_nothing_at_all_breaks_a_reader(name: str, data: bytes) -> None:
    TARGETS[name].run(data)
