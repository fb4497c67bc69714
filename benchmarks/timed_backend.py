"""A backend whose models take known times: each look and answer sleeps for a time drawn from the query itself.

    python benchmarks/timed_backend.py PORT small=0.015,0.06,0.6 large=0,0.15,0

NAME=LOOK,ANSWER,REJECTS: mean seconds of a look and an answer (gamma-distributed, with a standard deviation of 0.7 of
the mean) and the share of queries that it rejects. The same query takes the same time in every run.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import dataclass

from fast_backend import LOOK, WHOLE, Backend, _response

from disrouter.seeds import seed_of

SPREAD = 0.7
_SHAPE = 1 / SPREAD**2


@dataclass(frozen=True, slots=True)
class Model:
    """How long a model takes, and how often it rejects."""

    look: float
    answer: float
    rejects: float


def _accepting() -> bytes:
    body = json.loads(LOOK.partition(b"\r\n\r\n")[2])
    choice = body["choices"][0]
    choice["message"]["content"] = "I"
    token = {"token": "I", "logprob": -0.05, "bytes": None}
    choice["logprobs"]["content"] = [{**token, "top_logprobs": [token]}]
    return _response(json.dumps(body).encode())


ACCEPT = _accepting()


def drawn(query: str, name: str, step: str, mean: float) -> float:
    """Return the seconds of a step of a query."""
    return random.Random(seed_of(0, query, name, step)).gammavariate(_SHAPE, mean / _SHAPE) if mean else 0.0


class Timed(Backend):
    """One connection to models that take their time."""

    models: dict[str, Model] = {}  # noqa: RUF012  # set once, before serving

    def answer(self, head: bytes, body: bytes) -> None:
        """Answer when the model would."""
        if head.startswith(b"get "):
            super().answer(head, body)
            return
        request = json.loads(body)
        name, query = request["model"], request["messages"][-1]["content"]
        model = self.models[name]
        if request.get("logprobs"):
            rejects = random.Random(seed_of(0, query, name, "rejects")).random() < model.rejects
            self.loop.call_later(drawn(query, name, "look", model.look), self.send, LOOK if rejects else ACCEPT)
        else:
            self.loop.call_later(drawn(query, name, "answer", model.answer), self.send, WHOLE)


async def main(arguments: list[str]) -> None:
    """Serve on loopback until killed."""
    for argument in arguments[1:]:
        name, _, numbers = argument.partition("=")
        Timed.models[name] = Model(*map(float, numbers.split(",")))
    server = await asyncio.get_running_loop().create_server(Timed, "127.0.0.1", int(arguments[0]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
