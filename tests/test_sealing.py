from __future__ import annotations

import pytest

from disrouter.agents.sealing import MAC_BYTES, Seal, SealError, Seals

KEY = b"k" * 32


def test_frames_arrive_as_they_were_sent() -> None:
    ours, theirs = Seal(KEY, "calls"), Seal(KEY, "calls")

    assert [theirs.opened(ours.sealed(frame)) for frame in (b"one", b"", b"one")] == [b"one", b"", b"one"]


@pytest.mark.parametrize("place", [0, MAC_BYTES - 1, MAC_BYTES, -1])
def test_a_changed_bit_is_noticed(place: int) -> None:
    sealed = bytearray(Seal(KEY, "calls").sealed(b"frame"))
    sealed[place] ^= 1

    with pytest.raises(SealError):
        Seal(KEY, "calls").opened(bytes(sealed))


def test_a_frame_counts_once_and_in_its_turn() -> None:
    ours = Seal(KEY, "calls")
    first, second = ours.sealed(b"first"), ours.sealed(b"second")
    again, skipping = Seal(KEY, "calls"), Seal(KEY, "calls")
    again.opened(first)

    for seal, frame in ((again, first), (skipping, second)):
        with pytest.raises(SealError):
            seal.opened(frame)


def test_a_frame_cannot_be_turned_around_or_come_from_another_channel_or_without_a_seal() -> None:
    sent = Seals.of(KEY).calls.sealed(b"frame")

    for seal, frame in ((Seal(KEY, "replies"), sent), (Seal(b"x" * 32, "calls"), sent), (Seal(KEY, "calls"), b"frame")):
        with pytest.raises(SealError):
            seal.opened(frame)


def test_without_a_key_frames_travel_as_they_are() -> None:
    seals = Seals.of(None)

    assert seals.calls.sealed(b"frame") == b"frame" == seals.calls.opened(b"frame")
