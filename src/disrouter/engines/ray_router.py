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

    async def _choose_replica_for_request(self, pending_request: Any, *, is_retry: bool = False) -> Any:
        """Return the replica that would be chosen, without a task of its own where nobody waits and it has room.

        Ray makes a task, a place in two queues and three statistics of every choice: a sixth of what a call takes. A
        Ray that does not ask this method any more chooses as usual.
        """
        if not is_retry and not self.curr_num_routing_tasks:
            for rank in await self.choose_replicas(list(self.curr_replicas.values()), pending_request):
                if (free := self._least_busy(rank)) is not None:
                    return free
        return await super()._choose_replica_for_request(pending_request, is_retry=is_retry)

    def _least_busy(self, rank: list[Any]) -> Any | None:
        """Return the least busy of some replicas, if all are known and it has room; asking them is Ray's."""
        lengths = [self.replica_queue_len_cache.get(replica.replica_id) for replica in rank]
        if not lengths or None in lengths:
            return None
        length, place = min((length, place) for place, length in enumerate(lengths))
        return rank[place] if length < rank[place].max_ongoing_requests else None
