"""Branches that name their process (docs/decisions/0007)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip_edge.domain.branches import make_branch, owner_of
from vedette.sip.grammar import is_token


@given(instance=st.from_regex(r"[0-9a-f]{12}", fullmatch=True), number=st.integers(0, 2**63))
def test_a_branch_leads_back_to_the_process_that_made_it(instance: str, number: int) -> None:
    branch = make_branch(instance, number)
    assert branch.startswith("z9hG4bK")
    assert is_token(branch)
    assert owner_of(branch) == instance
    assert make_branch(instance, number + 1) != branch


@pytest.mark.parametrize("branch", ["", "z9hG4bK", "z9hG4bKphone", "z9hG4bKa.", "z9hG4bK.1", "a.1", "Z9HG4BKa.1"])
def test_a_branch_that_no_edge_made_has_no_owner(branch: str) -> None:
    assert owner_of(branch) is None
