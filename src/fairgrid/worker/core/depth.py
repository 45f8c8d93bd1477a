"""How deep a fact of the chain is: what was published because of an orphaned block cannot be recalled (decision 30)."""

from __future__ import annotations

__all__ = ["Depth"]


class Depth:
    """Remembers since which block each fact was seen, unchanged; nothing of it is stored: a restart counts anew."""

    def __init__(self, confirmations: int) -> None:
        self._confirmations = confirmations
        self._since: dict[str, dict[str, tuple[object, int]]] = {}

    def reached(
        self,
        task_id: str,
        topic: str,
        fact: object | None,
        block: int,
        *,
        blocks: int | None = None,
    ) -> bool:
        """True when ``fact`` has been so for ``confirmations`` blocks up to ``block``; None: there is no such fact.

        ``blocks`` is another depth than the confirmations. The fact was read as of ``block``, not before or after it.
        """
        topics = self._since.setdefault(task_id, {})
        if fact is None:
            topics.pop(topic, None)
            return False
        known = topics.get(topic)
        if known is None or known[0] != fact or block < known[1]:
            known = topics[topic] = (fact, block)
        return block - known[1] >= (self._confirmations if blocks is None else blocks)

    def forget(self, task_id: str) -> None:
        """Drop what is remembered of a task."""
        self._since.pop(task_id, None)
