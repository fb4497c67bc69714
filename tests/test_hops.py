"""Hop headers: what is signed, what is believed, and what clocks and repetition do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from disrouter.agents.hops import HOP, LONGEST_SKEW, TIME, TRACE, VIA, HopError, Signer, Travel, Verifier
from disrouter.agents.nonces import Nonces

SECRET = "a secret that both sides know"
PATH, BODY = "agent/look", b'{"a": 1}'
TRAVEL = Travel(
    via=("one", "two"),
    seconds=2.5,
    max_cost=0.1 + 0.2,
    max_hops=3,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def a_pair(skew: float = 0.0, secret: str | None = SECRET) -> tuple[Signer, Verifier, Clock]:
    here, there = Clock(), Clock(1_800_000_000.0 + skew)
    return Signer(lambda: secret, here), Verifier(lambda: secret, clock=there), there


def refused(verifier: Verifier, headers: dict[str, str], path: str = PATH, body: bytes = BODY) -> HopError:
    with pytest.raises(HopError) as caught:
        verifier.travel(path, headers, body)
    return caught.value


def test_what_is_signed_arrives_as_it_was() -> None:
    signer, verifier, _ = a_pair()

    assert verifier.travel("/v1/agent/look", signer.headers(PATH, BODY, TRAVEL), BODY) == TRAVEL


def test_a_prefix_before_the_version_does_not_matter() -> None:
    signer, verifier, _ = a_pair()

    assert verifier.travel("/models/v1/agent/look", signer.headers(PATH, BODY, TRAVEL), BODY) == TRAVEL


@pytest.mark.parametrize(
    "change",
    [
        lambda h: {**h, VIA: "one"},
        lambda h: {**h, TRACE: h[TRACE].replace("b7", "b8")},
        lambda h: {**h, HOP: h[HOP].replace("left=2.5", "left=9.5")},
        lambda h: {**h, HOP: h[HOP].replace("hops=3", "hops=9")},
        lambda h: {**h, HOP: h[HOP].replace("v2;", "")},
        lambda h: {**h, HOP: h[HOP].partition(";s=")[0]},
        lambda h: {**h, HOP: h[HOP][:-1]},
        lambda h: {**h, HOP: ""},
        lambda h: {**h, HOP: ";;=;é" * 1000},
        lambda h: {key: value for key, value in h.items() if key != VIA},
    ],
)
def test_whatever_was_changed_on_the_way_is_refused(change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    signer, verifier, _ = a_pair()

    assert refused(verifier, change(signer.headers(PATH, BODY, TRAVEL))).code == "hop_signature"


def test_a_signature_is_for_one_body_at_one_path_with_one_secret() -> None:
    signer, verifier, _ = a_pair()
    headers = signer.headers(PATH, BODY, TRAVEL)

    assert refused(verifier, headers, body=BODY + b" ").code == "hop_signature"
    assert refused(verifier, headers, path="agent/answer").code == "hop_signature"
    assert refused(a_pair(secret="another")[1], headers).code == "hop_signature"


def test_headers_without_a_signature_are_refused_where_there_is_a_secret() -> None:
    _, verifier, _ = a_pair()

    assert refused(verifier, {VIA: "one"}).code == "hop_unsigned"
    assert verifier.travel(PATH, {}, BODY) is None
    with pytest.raises(HopError, match="not signed"):
        verifier.travel(PATH, {}, BODY, required=True)


def test_without_a_secret_nothing_is_told_but_way_and_trace_and_nothing_believed_but_the_way() -> None:
    signer, verifier, _ = a_pair(secret=None)

    assert signer.headers(PATH, BODY, TRAVEL) == {VIA: "one,two", TRACE: TRAVEL.traceparent}
    assert verifier.travel(PATH, {VIA: "one,two", HOP: "v2;left=1;s=0"}, BODY) == Travel(via=("one", "two"))


def test_a_request_is_taken_once() -> None:
    signer, verifier, _ = a_pair()
    headers = signer.headers(PATH, BODY, TRAVEL)

    verifier.travel(PATH, headers, BODY)

    assert refused(verifier, headers).code == "hop_replayed"
    assert verifier.travel(PATH, signer.headers(PATH, BODY, TRAVEL), BODY) == TRAVEL


@pytest.mark.parametrize("skew", [3600.0, -3600.0, LONGEST_SKEW + 1])
def test_a_caller_whose_clock_is_off_is_told_the_time_and_signs_by_it(skew: float) -> None:
    signer, verifier, _ = a_pair(skew)
    headers = signer.headers(PATH, BODY, TRAVEL)

    refusal = refused(verifier, headers)

    assert refusal.code == "hop_time"
    assert signer.learn(headers, refusal.headers)
    assert signer.offset == pytest.approx(skew)
    assert verifier.travel(PATH, signer.headers(PATH, BODY, TRAVEL), BODY) == TRAVEL


def test_the_time_is_believed_only_from_who_knows_the_secret_and_about_this_request() -> None:
    signer, verifier, _ = a_pair(3600.0)
    headers, other = signer.headers(PATH, BODY, TRAVEL), signer.headers(PATH, BODY, TRAVEL)
    said = refused(verifier, headers).headers

    assert not signer.learn(other, said)
    assert not signer.learn(headers, {TIME: said[TIME].replace("1", "2", 1)})
    assert not signer.learn(headers, {TIME: "nan"})
    assert not signer.learn(headers, {})
    assert not Signer(lambda: "another").learn(headers, said)
    assert signer.offset == 0.0


def test_a_request_that_was_overheard_is_old_after_a_while() -> None:
    signer, verifier, clock = a_pair()
    headers = signer.headers(PATH, BODY, TRAVEL)

    clock.now += LONGEST_SKEW + 1

    assert refused(verifier, headers).code == "hop_time"


def test_words_are_forgotten_when_they_are_too_old_to_be_taken_anyway() -> None:
    nonces = Nonces(window=60.0)
    for second in range(1000):
        assert nonces.take(f"{second:024x}", float(second), float(second))

    assert len(nonces) <= 62


def test_where_there_are_too_many_words_none_is_taken_twice_and_new_ones_are() -> None:
    signer, there = Signer(lambda: SECRET, Clock()), Clock()
    verifier = Verifier(lambda: SECRET, Nonces(most=10), clock=there)
    first = signer.headers(PATH, BODY, TRAVEL)
    verifier.travel(PATH, first, BODY)
    for _ in range(30):
        there.now += 0.5
        signer._clock = Clock(there.now)
        verifier.travel(PATH, signer.headers(PATH, BODY, TRAVEL), BODY)

    refusal = refused(verifier, first)

    assert refusal.code == "hop_time"  # so that an honest caller signs again
    assert verifier.travel(PATH, signer.headers(PATH, BODY, TRAVEL), BODY) == TRAVEL


def test_what_was_said_before_a_process_started_is_not_taken_by_it() -> None:
    here, there = Clock(), Clock()
    signer, before = Signer(lambda: SECRET, here), Verifier(lambda: SECRET, clock=there)
    headers = signer.headers(PATH, BODY, TRAVEL)
    before.travel(PATH, headers, BODY)

    there.now += 2.0
    after = Verifier(lambda: SECRET, clock=there)

    refusal = refused(after, headers)
    assert refusal.code == "hop_time"
    assert signer.learn(headers, refusal.headers)
    assert after.travel(PATH, signer.headers(PATH, BODY, TRAVEL), BODY) == TRAVEL


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    signer, verifier, there = a_pair()
    there.now -= 3600.0
    headers = signer.headers(PATH, BODY, TRAVEL)

    assert signer.learn(headers, refused(verifier, headers).headers)
    assert verifier.travel(PATH, signer.headers(PATH, BODY, TRAVEL), BODY) == TRAVEL


def test_a_reply_that_is_proven_is_the_reply_to_this_request() -> None:
    signer, verifier, _ = a_pair()
    headers, other = signer.headers(PATH, b"", Travel()), signer.headers(PATH, b"", Travel())
    proof = verifier.proof(headers, b"card")

    assert signer.believes(headers, proof, b"card")
    assert not signer.believes(headers, proof, b"another")
    assert not signer.believes(other, proof, b"card")
    assert not signer.believes(headers, {}, b"card")


@pytest.mark.parametrize("travel", [replace(TRAVEL, max_cost=1e-300), replace(TRAVEL, max_cost=0.0, seconds=0.0)])
def test_numbers_keep_every_bit(travel: Travel) -> None:
    signer, verifier, _ = a_pair()

    assert verifier.travel(PATH, signer.headers(PATH, BODY, travel), BODY) == travel
