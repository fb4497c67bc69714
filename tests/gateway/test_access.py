"""Keys: who gets in, how fast, how far, and what is kept of a key."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from disrouter.gateway.access import (
    Access,
    AccessError,
    BudgetError,
    ForbiddenError,
    MissingKeyError,
    RateLimitError,
    WrongKeyError,
)
from disrouter.gateway.keys import PREFIX, Key, digest_of, new_key, period_of

NOON = 1_764_072_000.0  # 2025-11-25 12:00 UTC


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def a_key(secret: str = "sk-dis-alice", **limits: Any) -> Key:
    return Key(id="key_alice", name="alice", digest=digest_of(secret), created=NOON, **limits)


def alice(access: Access) -> Any:
    return access.check("Bearer sk-dis-alice")


def test_without_any_key_everybody_may_ask_and_nobody_administers() -> None:
    grant = Access().check(None)

    assert grant.key_id is None
    with pytest.raises(ForbiddenError):
        grant.require_admin()


def test_the_first_key_closes_the_gateway_for_good() -> None:
    access = Access()
    access.replace_keys([a_key()])
    assert alice(access).key_id == "key_alice"

    access.replace_keys([])

    with pytest.raises(MissingKeyError):
        access.check(None)


def test_keys_can_be_required_before_there_are_any() -> None:
    with pytest.raises(MissingKeyError) as caught:
        Access(keys_required=True).check(None)

    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer sk-dis-bob",
        "Bearer sk-dis-alicE",
        "Bearer sk-dis-alice sk-dis-alice",
        "Bearer ",
        "Basic sk-dis-alice",
        "sk-dis-alice",
        "Bearer " + "x" * 100_000,
        "Bearer \udcff\udcfe",
        "Bearer ключ",
    ],
)
def test_anything_but_the_whole_key_is_wrong(header: str) -> None:
    with pytest.raises(WrongKeyError) as caught:
        Access([a_key()]).check(header)

    assert caught.value.status == 401
    assert "sk-dis-" not in caught.value.message


def test_the_scheme_is_read_as_http_wants_it() -> None:
    assert Access([a_key()]).check("bearer  sk-dis-alice").key_id == "key_alice"


def test_revoked_and_expired_keys_do_not_get_in() -> None:
    clock = Clock()
    expiring = Access([a_key(expires=NOON + 60)], clock=clock)
    assert alice(expiring).key_id == "key_alice"
    clock.now += 60

    with pytest.raises(WrongKeyError, match="expired"):
        alice(expiring)
    with pytest.raises(WrongKeyError):
        alice(Access([a_key(revoked=NOON)]))


def test_a_key_sends_as_many_requests_a_minute_as_it_may() -> None:
    clock = Clock()
    access = Access([a_key(per_minute=3)], clock=clock)

    assert [alice(access).remaining_requests for _ in range(3)] == [2, 1, 0]
    with pytest.raises(RateLimitError) as caught:
        alice(access)
    # three a minute: the next one in 20 seconds
    assert caught.value.retry_after == pytest.approx(20)
    assert caught.value.headers() == {"retry-after": "20"}
    assert caught.value.status == 429
    clock.now += 20.01
    assert alice(access).remaining_requests == 0


def test_looking_at_pages_uses_up_no_requests() -> None:
    access = Access([a_key(per_minute=1)])

    for _ in range(5):
        access.look("Bearer sk-dis-alice")

    assert alice(access).remaining_requests == 0


def test_reading_the_keys_again_gives_nobody_new_requests() -> None:
    clock = Clock()
    access = Access([a_key(per_minute=1)], clock=clock)
    alice(access)

    access.replace_keys([a_key(per_minute=1)])

    with pytest.raises(RateLimitError):
        alice(access)


def test_a_budget_is_spent_and_clients_are_told_not_to_try_again() -> None:
    access = Access([a_key(budget=1.0)], clock=Clock())
    access.spend(alice(access), 0.6)
    assert alice(access).remaining == pytest.approx(0.4)
    access.spend(alice(access), 0.4)

    with pytest.raises(BudgetError) as caught:
        alice(access)

    assert caught.value.headers() == {"x-should-retry": "false"}
    assert caught.value.code == "insufficient_quota"


def test_what_the_store_knows_and_what_it_does_not_know_yet_count_once() -> None:
    access = Access([a_key(budget=10.0, spent=2.0, spent_in="2025-11")], clock=Clock())
    access.spend(alice(access), 1.0)
    told = access.unsaved()
    access.spend(alice(access), 0.5)  # meanwhile

    access.saved(told)

    assert access.unsaved() == {("key_alice", "2025-11"): pytest.approx(0.5)}
    assert alice(access).remaining == pytest.approx(10 - 2 - 1.5)
    access.replace_keys([a_key(budget=10.0, spent=3.0, spent_in="2025-11")])  # as the store has it now
    assert alice(access).remaining == pytest.approx(10 - 3 - 0.5)


def test_a_new_day_has_a_new_budget() -> None:
    clock = Clock()
    access = Access([a_key(budget=1.0, period="day")], clock=clock)
    access.spend(alice(access), 1.0)
    with pytest.raises(BudgetError):
        alice(access)

    clock.now += 12 * 3_600

    assert alice(access).remaining == pytest.approx(1.0)


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_costs_that_are_none_change_no_budget(cost: float) -> None:
    access = Access([a_key(budget=1.0)])

    access.spend(alice(access), cost)

    assert access.unsaved() == {}


def test_spending_from_many_threads_is_all_counted() -> None:
    access = Access([a_key(budget=1e9)], clock=Clock())
    grant = alice(access)
    saved = 0.0

    def spend() -> None:
        for _ in range(500):
            access.spend(grant, 1.0)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()

    while any(thread.is_alive() for thread in threads):
        told = access.unsaved()
        access.saved(told)
        saved += sum(told.values())
    told = access.unsaved()

    assert saved + sum(told.values()) == pytest.approx(2_000)


def test_a_key_may_be_bound_to_scenarios() -> None:
    grant = alice(Access([a_key(scenarios=frozenset({"cost-first"}))]))

    grant.require_scenario("cost-first")
    with pytest.raises(ForbiddenError, match="cost-first") as caught:
        grant.require_scenario("alpha=0.3")
    assert caught.value.status == 403


def test_every_refusal_is_an_access_error_with_a_status() -> None:
    kinds = (MissingKeyError, WrongKeyError, ForbiddenError, BudgetError)

    assert [kind("no").status for kind in kinds] == [401, 401, 403, 429]
    assert all(issubclass(kind, AccessError) for kind in kinds)


def test_keys_are_long_random_and_recognisable() -> None:
    (first, first_id, first_digest), (second, *_) = new_key(), new_key()

    assert first != second
    assert first.startswith(PREFIX)
    assert len(first) >= len(PREFIX) + 43  # 256 bits
    assert first_digest == digest_of(first)
    assert first_id.removeprefix("key_") not in first


def test_a_key_never_stands_in_what_is_printed_of_it() -> None:
    secret, public, digest = new_key()
    key = replace(a_key(), id=public, digest=digest)

    assert secret not in repr(key)


def test_periods_are_those_of_utc() -> None:
    assert [period_of(p, NOON) for p in ("day", "month", "total")] == ["2025-11-25", "2025-11", "total"]
