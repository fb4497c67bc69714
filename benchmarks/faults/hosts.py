"""Hosts that are really apart: network namespaces with addresses of their own, and a router in user space between them.

Every host has one network device, a TUN device whose other end this process holds. What a host sends are whole IP
packets, and the router passes them on, late or never, as the weather of the two hosts has it. So TCP is the kernel's
own, with its real timeouts and retransmissions, and nothing but TUN and namespaces is needed: no netem, no bridge.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import re
import selectors
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Hosts", "UnavailableError", "Weather", "hosts", "require"]

PREFIX = "198.18.0"
"""Set aside for tests between networks (RFC 2544); nobody else has these addresses."""

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
LARGEST_PACKET = 65_536

_OURS = re.compile(r"^dr(\d+)-")


class UnavailableError(Exception):
    """Hosts cannot be set apart on this machine, and why."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What becomes of packets from and to a host."""

    loss: float = 0.0
    """Share of packets that vanish, each way."""
    delay: float = 0.0
    """Seconds that each packet which the host sends is under way."""
    cut: bool = False
    """Whether none comes through at all."""


CLEAR = Weather()


class Hosts:
    """Network namespaces by name, and the router between them."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self.addresses = {name: f"{PREFIX}.{number}" for number, name in enumerate(names, start=1)}
        self.namespaces = {name: f"dr{os.getpid()}-{name}"[:60] for name in names}
        self._weather: dict[str, Weather] = dict.fromkeys(names, CLEAR)
        self._chance = random.Random(seed)
        self._devices: dict[str, int] = {}
        self._stopping = threading.Event()
        self._router = threading.Thread(target=self._route, name="router", daemon=True)
        self.passed = self.lost = 0

    def up(self) -> None:
        """Make everything."""
        for number, (name, namespace) in enumerate(self.namespaces.items()):
            _run("ip", "netns", "add", namespace)
            device = f"dr{os.getpid()}t{number}"[:15]
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            self._devices[name] = fd
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
            _run("ip", "link", "set", device, "netns", namespace)
            inside = ("ip", "-n", namespace)
            _run(*inside, "link", "set", "lo", "up")
            _run(*inside, "address", "add", f"{self.addresses[name]}/24", "dev", device)
            _run(*inside, "link", "set", device, "up")
        self._router.start()

    def down(self) -> None:
        """Take everything away; what is not there is no harm."""
        self._stopping.set()
        if self._router.is_alive():
            self._router.join(5)
        for fd in self._devices.values():
            os.close(fd)
        self._devices.clear()
        for namespace in self.namespaces.values():
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)

    def set_weather(self, host: str, weather: Weather = CLEAR) -> None:
        """Change what becomes of packets from and to a host, from now on."""
        self._weather[host] = weather

    def command(self, host: str, *command: str) -> list[str]:
        """Return a command as it is started on a host."""
        return ["ip", "netns", "exec", self.namespaces[host], *command]

    def enter(self, host: str) -> None:
        """Have every socket that this thread makes from now on be one of the host's."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/var/run/netns/{self.namespaces[host]}") as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise UnavailableError(f"cannot enter a namespace: {os.strerror(ctypes.get_errno())}")

    def _route(self) -> None:
        by_address = {bytes(map(int, address.split("."))): name for name, address in self.addresses.items()}
        later: list[tuple[float, int, int, bytes]] = []
        number = 0
        with selectors.DefaultSelector() as ready:
            for name, fd in self._devices.items():
                ready.register(fd, selectors.EVENT_READ, name)
            while not self._stopping.is_set():
                wait = 0.05 if not later else min(0.05, max(0.0, later[0][0] - time.monotonic()))
                for key, _ in ready.select(wait):
                    for packet in _packets(key.fd):
                        to = by_address.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                        if to is None:  # multicast, neighbour discovery: nothing of ours
                            continue
                        seconds = self._delay(key.data, to)
                        if seconds is None:
                            self.lost += 1
                            continue
                        self.passed += 1
                        if seconds:
                            number += 1
                            heapq.heappush(later, (time.monotonic() + seconds, number, self._devices[to], packet))
                        else:
                            _write(self._devices[to], packet)
                while later and later[0][0] <= time.monotonic():
                    _, _, fd, packet = heapq.heappop(later)
                    _write(fd, packet)

    def _delay(self, sender: str, receiver: str) -> float | None:
        """Return the seconds that a packet is under way; None if it never arrives."""
        ways = self._weather[sender], self._weather[receiver]
        if any(weather.cut or (weather.loss and self._chance.random() < weather.loss) for weather in ways):
            return None
        return ways[0].delay


@contextlib.contextmanager
def hosts(names: Sequence[str], *, seed: int = 0) -> Iterator[Hosts]:
    """Set hosts apart for as long as the block runs, and leave nothing behind.

    Raises:
        UnavailableError: This machine does not let us.
    """
    require()
    _remove_stale()
    made = Hosts(names, seed)
    try:
        try:
            made.up()
        except (OSError, subprocess.CalledProcessError) as exc:
            said = exc.stderr.strip() if isinstance(exc, subprocess.CalledProcessError) else str(exc)
            raise UnavailableError(f"this machine does not let us make network namespaces: {said}") from exc
        yield made
    finally:
        made.down()


def require() -> None:
    """Do nothing if hosts can be set apart here.

    Raises:
        UnavailableError: Something is missing, and what.
    """
    if shutil.which("ip") is None:
        raise UnavailableError("the command `ip` is missing; install iproute2")
    if not os.path.exists("/dev/net/tun"):
        raise UnavailableError("/dev/net/tun is missing; the kernel has no TUN devices here")
    if os.geteuid() != 0:
        raise UnavailableError("network namespaces need root")


def _remove_stale() -> None:
    """Remove what a run that was killed has left: namespaces whose maker is gone, and what still runs in them."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout.split("\n")
    for name in (line.partition(" ")[0] for line in listed):
        maker = _OURS.match(name)
        if maker is None or os.path.exists(f"/proc/{maker[1]}"):
            continue
        inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
        for pid in inside.split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _packets(fd: int) -> Iterator[bytes]:
    for _ in range(64):
        try:
            packet = os.read(fd, LARGEST_PACKET)
        except BlockingIOError:
            return
        except OSError:  # the namespace is going
            return
        if packet:
            yield packet


def _write(fd: int, packet: bytes) -> None:
    with contextlib.suppress(OSError):  # a full queue loses packets, as everywhere
        os.write(fd, packet)
