"""Which replica a call goes to: the less busy one of two, but an answer to where the look at its query was taken.

Only imported where Ray is.
"""

from __future__ import annotations

from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter

__all__ = ["StickyRouter"]


class StickyRouter(PowerOfTwoChoicesRequestRouter):  # type: ignore[misc]  # Ray ships no types that mypy reads here
    """The usual choice, after the replica that a call names as its session, where that still lives and has room."""

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: Any | None = None
    ) -> list[list[Any]]:
        """Return replicas in ranks; of the first rank with room the least busy one is taken."""
        usual: list[list[Any]] = await super().choose_replicas(candidate_replicas, pending_request)
        wanted = pending_request.metadata.session_id if pending_request is not None else ""
        own = [replica for replica in candidate_replicas if wanted and replica.replica_id.unique_id == wanted]
        return [own, *usual] if own else usual
