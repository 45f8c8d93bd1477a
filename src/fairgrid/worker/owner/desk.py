"""Answers the owner's questions to a running worker: status, why, policy, pause, resume, drain."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from fairgrid.errors import UsageError
from fairgrid.protocol.pool_messages import Why
from fairgrid.seams.clock import Clock
from fairgrid.worker.owner.availability import Rule
from fairgrid.worker.owner.heed import Heed
from fairgrid.worker.owner.owner_watch import OwnerWatch, Pause, pause, unpause

__all__ = ["Desk", "Running"]


class Running(Protocol):
    """What is asked of a running `fairgrid.worker.agent.WorkerAgent`."""

    def snapshot(self) -> dict[str, Any]:
        """Who it is, where it is enrolled, what it holds: JSON values."""
        ...

    async def pool_why(self) -> tuple[Why | None, str]:
        """The pool's answer; None with the reason where there is none."""
        ...


class Desk:
    """One worker's desk. `handle` is the `fairgrid.worker.owner.control.Handler`."""

    def __init__(self, running: Running, owner: OwnerWatch, heed: Heed, *, clock: Clock) -> None:
        self._running = running
        self._owner = owner
        self._heed = heed
        self._clock = clock

    async def handle(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Answer one command.

        Raises:
            UsageError: there is no such command, or an argument is wrong.
        """
        match command:
            case "status":
                return {**self._running.snapshot(), **self._state()}
            case "why":
                return await self._why()
            case "policy":
                return self._policy()
            case "pause":
                return await self._pause(arguments)
            case "resume":
                unpause(self._owner.folder)
                await self._heed.follow()
                return self._state()
            case "drain":
                self._heed.drain()
                await self._heed.follow()
                return self._state()
            case _:
                raise UsageError(f"This worker has no command {command!r}. Update the older of worker and command.")

    def _state(self) -> dict[str, Any]:
        verdict = self._owner.verdict
        return {
            "takesWork": verdict.takes_work and not self._heed.is_draining,
            "suspended": self._heed.is_suspended,
            "draining": self._heed.is_draining,
            "reason": verdict.reason,
        }

    async def _why(self) -> dict[str, Any]:
        verdict = await self._owner.look()
        answer, message = await self._running.pool_why()
        rules = [_rule(rule) for rule in verdict.rules]
        if self._heed.is_draining:
            rules.append({"rule": "draining", "allowed": False, "text": "The worker is being drained."})
        return {
            **self._running.snapshot(),
            **self._state(),
            "ownerRules": rules,
            "policyProblem": self._owner.policy_problem,
            "poolRules": [asdict(reason) for reason in answer.reasons] if answer is not None else None,
            "waitingTasks": answer.waiting_tasks if answer is not None else None,
            "poolMessage": message,
        }

    def _policy(self) -> dict[str, Any]:
        return {
            "path": str(self._owner.policy_path),
            "problem": self._owner.policy_problem,
            "policy": asdict(self._owner.policy),
        }

    async def _pause(self, arguments: dict[str, Any]) -> dict[str, Any]:
        until = arguments.get("until", 0)
        if isinstance(until, bool) or not isinstance(until, int | float) or until < 0:
            raise UsageError("A pause ends at a time in seconds since the epoch, or never (0).")
        pause(self._owner.folder, Pause(self._clock.now(), float(until)))
        await self._heed.follow()
        return self._state()


def _rule(rule: Rule) -> dict[str, Any]:
    return {"rule": rule.name, "allowed": rule.allowed, "text": rule.text}
