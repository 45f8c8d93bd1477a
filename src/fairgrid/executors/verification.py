"""Pure: how results are to be verified, as users say it, and what that guarantees and costs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from fairgrid.errors import FundsError, UsageError
from fairgrid.executors.backend import Terms
from fairgrid.protocol.amounts import format_amount

__all__ = ["Verification", "VerificationKind", "audits_too_little", "explain", "parse_verification"]

_MOST_REPLICAS: Final = 100
_FORM: Final = re.compile(r"replicate:(\d{1,4})|audit:(\d{1,3}(?:\.\d{1,4})?)\s*%", re.ASCII)


class VerificationKind(StrEnum):
    """Who stands for a result."""

    TRUST = "trust"
    """As many workers as a confidence asks for."""
    NONE = "none"
    REPLICATE = "replicate"
    AUDIT = "audit"
    TEE = "tee"


@dataclass(frozen=True, slots=True)
class Verification:
    """What is asked for. ``confidence`` is decimal text, ``replicas`` how many workers must agree at least."""

    kind: VerificationKind
    confidence: str = "0"
    replicas: int = 1
    audit_share: Decimal = Decimal(0)
    """The share of tasks that the pool is to compute once more in silence, between 0 and 1."""

    @property
    def text(self) -> str:
        """As a user writes it."""
        match self.kind:
            case VerificationKind.REPLICATE:
                return f"replicate:{self.replicas}"
            case VerificationKind.AUDIT:
                return f"audit:{(self.audit_share * 100).normalize():f}%"
            case _:
                return self.kind.value


def parse_verification(text: str) -> Verification:
    """What ``verify=`` says: ``"none"``, ``"replicate:3"``, ``"audit:5%"`` or ``"tee"``.

    Raises:
        UsageError: it says something else.
    """
    plain = text.strip().lower()
    if plain in (VerificationKind.NONE, VerificationKind.TEE):
        return Verification(VerificationKind(plain))
    found = _FORM.fullmatch(plain)
    if found is not None and found[1] and 2 <= int(found[1]) <= _MOST_REPLICAS:
        return Verification(VerificationKind.REPLICATE, replicas=int(found[1]))
    if found is not None and found[2] and 0 < Decimal(found[2]) <= 100:
        return Verification(VerificationKind.AUDIT, audit_share=Decimal(found[2]) / 100)
    raise UsageError(
        f"verify={text!r} is none of 'none', 'replicate:N' (N from 2 to {_MOST_REPLICAS} workers agree), 'audit:P%' "
        f"(the pool computes so many tasks once more), 'tee'. Or leave it out and say trust=0.99."
    )


def audits_too_little(asked: Verification, share: float) -> FundsError:
    """The error of a pool that says that it audits ``share`` of its tasks, less than was asked for."""
    if not share:
        says, instead = "does not audit", "verify='replicate:2' or trust=0.9"
    else:
        says = f"audits {share:.2%} of its proven workers' tasks"
        instead = f"verify='audit:{math.floor(share * 10_000) / 100:g}%'"
    return FundsError(
        f"This pool {says}, and {asked.text!r} asks for more. Nothing was signed. Ask for {instead}, or choose another "
        f"pool."
    )


def explain(terms: Terms) -> str:
    """What a result is worth on this network now, and what that costs; a sentence a line."""
    return "\n".join((*_guarantee(terms), _cost(terms)))


def _guarantee(terms: Terms) -> Sequence[str]:
    if not terms.on_chain:
        return ("Computed on this machine alone: what it says is as true as your own computer. No chain knows of it.",)
    kept = (
        "Every file is compared with the digest on chain before you see it: nobody changes a result after it was "
        "agreed on."
    )
    if terms.trust > 1:
        return (
            (
                f"At least {terms.workers_per_task} workers of different owners compute each task and agree bit by "
                f"bit; a wrong answer needs as many that lie alike. The deals carry trust {terms.trust}: by the score "
                f"that workers have on chain, at most 1 result in {terms.trust} is agreed on wrongly. Who differs "
                f"loses its stake."
            ),
            "Owners that belong together unseen count as different ones; that is the limit of it.",
            kept,
        )
    return (
        "One worker computes each task, and its word counts: if it lies, you get a lie, and nobody repays it.",
        *_audits(terms),
        kept,
    )


def _audits(terms: Terms) -> Sequence[str]:
    share = terms.audit_share
    if not share:
        return ("This pool does not audit: a lie is found only by who computes the task again.",)
    return (
        (
            f"This pool says that it computes at least {share:.2%} of the tasks of proven workers once more in "
            f"silence, and all tasks of newcomers. Who lies in every task escapes {_tasks_until(share)} of them with a "
            f"chance of 1 in 2, then loses standing and work. That is the pool's policy, which the chain does not "
            f"enforce, and the result that was a lie is not taken back."
        ),
    )


def _tasks_until(share: float) -> int:
    """After how many tasks an auditor has looked at one with a chance of a half."""
    count, escape = 0, 1.0
    while escape > 0.5:
        escape *= 1 - share
        count += 1
    return count


def _cost(terms: Terms) -> str:
    if not terms.price:
        return "It costs nothing."
    return (
        f"A task costs {format_amount(terms.price)}, however many workers compute it: the pool's order sets the price "
        f"for every trust up to its own, and its workers share it. More workers cost time: {terms.workers} are "
        f"connected, and each task takes {terms.workers_per_task} of them."
    )
