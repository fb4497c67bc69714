"""Server-sent events: bytes in whatever pieces they arrive, to the data of whole events."""

from __future__ import annotations

__all__ = ["EventReader"]

LARGEST_EVENT = 8 * 1024 * 1024
"""Bytes. One chunk of a completion has a few hundred; an image in one stays below this."""


class EventReader:
    """Reads one stream of events (WHATWG HTML, §9.2.6); comments and fields other than ``data`` are skipped."""

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of the events that end in these bytes.

        Raises:
            ValueError: An event is larger than any server has reason to send.
        """
        self._rest += received
        if not self._data and b"\r" not in self._rest:
            return self._whole_events()
        held = b""
        if b"\r" in self._rest:
            if self._rest.endswith(b"\r"):  # the \n of this line end may still be on its way
                self._rest, held = self._rest[:-1], b"\r"
            self._rest = self._rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest + held
        events = [event for line in lines if (event := self._take(line)) is not None]
        self._require_bearable()
        return events

    def finish(self) -> list[bytes]:
        """Return the data of an event that the end of the stream cut off before its empty line."""
        # The standard drops it. Some servers end with "data: [DONE]" and nothing after it, so it is taken.
        last = self.feed(b"\n\n")
        return last

    def _whole_events(self) -> list[bytes]:
        """Take whole events; most are one line of data."""
        *whole, self._rest = self._rest.split(b"\n\n")
        self._require_bearable()
        events = []
        for lines in whole:
            if lines.startswith(b"data: ") and b"\n" not in lines:
                events.append(lines[6:])
                continue
            for line in lines.split(b"\n"):
                self._take(line)
            if (event := self._take(b"")) is not None:
                events.append(event)
        return events

    def _require_bearable(self) -> None:
        if len(self._rest) + sum(map(len, self._data)) > LARGEST_EVENT:
            raise ValueError(f"an event has more than {LARGEST_EVENT:,} bytes")

    def _take(self, line: bytes) -> bytes | None:
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            return None
        if not self._data:
            return None
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data = []
        return event
