from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from disrouter.seeds import seed_of


def test_a_seed_is_the_same_in_every_process_and_release() -> None:
    # 8 bytes of blake2b('[7, "q1", "small"]', digest_size=8), without the lowest bit.
    # Changing this number changes every sampled answer of every recorded run.
    assert seed_of(7, "q1", "small") == 2069112913095617413


def test_run_query_and_agent_each_change_the_seed() -> None:
    seeds = {seed_of(7, "q1", "a"), seed_of(8, "q1", "a"), seed_of(7, "q2", "a"), seed_of(7, "q1", "b")}

    assert len(seeds) == 4


def test_parts_do_not_run_together() -> None:
    assert seed_of(0, "ab", "c") != seed_of(0, "a", "bc")


@given(run=st.integers(), parts=st.lists(st.text()))
def test_a_seed_has_63_bits(run: int, parts: list[str]) -> None:
    assert 0 <= seed_of(run, *parts) < 2**63
