"""Sarmenta, "Sabotage-tolerance mechanisms for volunteer computing systems" (2001): its formulas, and trials of them.

f is the share of saboteurs, s how often a saboteur lies, q the share of spot checks, n the results of a worker, l how
long a saboteur stays under one name, m how many results must agree. Saboteurs tell the same lie.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "CredibilityTrial",
    "credibility_of_group",
    "credibility_of_worker",
    "credibility_trial",
    "majority_bound",
    "majority_error",
    "majority_trial",
    "spot_check_bound",
    "spot_check_error",
    "spot_check_no_blacklist_bound",
    "spot_check_trial",
    "voting_redundancy",
]


def majority_error(f: float, m: int) -> float:
    """Error rate of m-majority voting: at least m of 2m - 1 results are the lie."""
    votes = 2 * m - 1
    return sum(math.comb(votes, bad) * f**bad * (1 - f) ** (votes - bad) for bad in range(m, votes + 1))


def majority_bound(f: float, m: int) -> float:
    """The paper's bound of it, for f < 1/2 and m > 1: [4f(1-f)]^m / (2(1-2f) sqrt(pi (m-1)))."""
    return (4 * f * (1 - f)) ** m / (2 * (1 - 2 * f) * math.sqrt(math.pi * (m - 1)))


def voting_redundancy(f: float, m: int) -> float:
    """Executions a result of m-first voting, as the paper gives it: m / (1 - f)."""
    return m / (1 - f)


def spot_check_error(f: float, q: float, n: int, s: float) -> float:
    """Error rate with spot checks and blacklisting, all results of a caught saboteur being taken back."""
    survive = (1 - q * s) ** n
    return s * f * survive / ((1 - f) + f * survive)


def spot_check_bound(f: float, q: float, n: int) -> float:
    """What no lie rate makes it exceed: f/(1-f) · 1/(q n e). It costs 1/(1-q) executions a result."""
    return f / (1 - f) / (q * n * math.e)


def spot_check_no_blacklist_bound(f: float, q: float, stay: int) -> float:
    """The same when saboteurs come back under new names, after ``stay`` results or when caught: f/(1-f) · 1/(q l)."""
    return f / (1 - f) / (q * stay)


def credibility_of_worker(f: float, passed: int, *, blacklisting: bool) -> float:
    """How likely a result of a worker that passed so many spot checks is right, at least."""
    if passed == 0:
        return 1 - f
    return 1 - f / (1 - f) / (passed * math.e) if blacklisting else 1 - f / passed


def credibility_of_group(groups: Sequence[Sequence[float]]) -> list[float]:
    """How likely each group of agreeing results is right, given that the groups contradict each other.

    Each group is the credibility of its workers. The chance that this one is right and all others wrong, divided by
    that of all cases that are possible: one right and the others wrong, or all wrong.
    """
    all_good = [math.prod(group) for group in groups]
    all_bad = [math.prod(1 - worker for worker in group) for group in groups]
    every_bad = math.prod(all_bad)
    cases = [
        good * math.prod(bad for other, bad in enumerate(all_bad) if other != number)
        for number, good in enumerate(all_good)
    ]
    total = every_bad + sum(cases)
    return [case / total for case in cases] if total else [0.0] * len(groups)


# --- trials -------------------------------------------------------------------------------------------------------


def majority_trial(f: float, m: int, tasks: int, seed: int) -> tuple[float, float]:
    """Error rate and executions a result of m-first voting, measured."""
    draw = random.Random(seed)
    wrong = executions = 0
    for _ in range(tasks):
        good = bad = 0
        while good < m and bad < m:
            if draw.random() < f:
                bad += 1
            else:
                good += 1
        wrong += bad == m
        executions += good + bad
    return wrong / tasks, executions / tasks


def spot_check_trial(f: float, q: float, n: int, s: float, workers: int, seed: int, *, rejoins: bool = False) -> float:
    """Error rate with spot checks, measured: each worker gives ``n`` results, and a caught one loses all of its own.

    ``rejoins``: a caught saboteur starts again under a new name, until its time is over.
    """
    draw = random.Random(seed)
    right = wrong = 0
    for number in range(workers):
        if number >= round(workers * f):
            right += n
            continue
        lies = honest = 0
        for _ in range(n):
            lie = draw.random() < s
            if lie and draw.random() < q:
                lies = honest = 0
                if not rejoins:
                    break
                continue
            lies, honest = lies + lie, honest + (not lie)
        right, wrong = right + honest, wrong + lies
    return wrong / (right + wrong) if right + wrong else 0.0


@dataclass(frozen=True, slots=True)
class CredibilityTrial:
    """``error`` of 1, ``slowdown`` in executions a task, spot checks counted."""

    error: float
    slowdown: float


def credibility_trial(
    *, f: float, q: float, s: float, accept: float, workers: int, tasks: int, seed: int, blacklisting: bool = True
) -> CredibilityTrial:
    """Credibility-based voting: a task is done when a group of its results is right with at least ``accept``."""
    draw = random.Random(seed)
    bad = [number < round(workers * f) for number in range(workers)]
    draw.shuffle(bad)
    passed, live = [0] * workers, list(range(workers))
    votes: list[dict[int, bool]] = [{} for _ in range(tasks)]
    done: dict[int, bool] = {}
    mine: list[list[int]] = [[] for _ in range(workers)]
    queue, executions = list(range(tasks)), 0

    def belief(task: int) -> tuple[float, bool]:
        sides: dict[bool, list[float]] = {}
        for worker, lie in votes[task].items():
            known = credibility_of_worker(f, passed[worker], blacklisting=blacklisting)
            sides.setdefault(lie, []).append(known)
        if not sides:
            return 0.0, False
        scores = credibility_of_group(list(sides.values()))
        best = max(range(len(scores)), key=scores.__getitem__)
        return scores[best], list(sides)[best]

    while queue:
        later = []
        for task in queue:
            score, lie = belief(task)
            if score >= accept:
                done[task] = lie
                continue
            later.append(task)
            while True:
                worker = live[draw.randrange(len(live))]
                executions += 1
                lies = bad[worker] and draw.random() < s
                if draw.random() < q:
                    if not lies:
                        passed[worker] += 1
                        continue
                    for touched in mine[worker]:
                        votes[touched].pop(worker, None)
                        if touched in done:
                            # Its results are taken back, also from what was finished.
                            del done[touched]
                            later.append(touched)
                    mine[worker] = []
                    passed[worker] = 0
                    if blacklisting:
                        live.remove(worker)
                    continue
                if worker in votes[task]:
                    continue
                votes[task][worker] = lies
                mine[worker].append(task)
                break
        queue = list(dict.fromkeys(later))
    return CredibilityTrial(sum(done.values()) / tasks, executions / tasks)
