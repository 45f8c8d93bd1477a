"""The tree of errors: one class per remedy.

::

    FairgridError                     exit code
    ├── UsageError                    2   what you gave cannot be used: change it
    │   ├── OrderError                    an order is malformed, unsigned or does not fit
    │   ├── ManifestError                 a job manifest breaks its schema or its limits
    │   └── CannotTravel                  a function, or a value in it, cannot go to another machine
    ├── FundsError                    3   money or trust is missing: add some, or ask for less
    │   ├── TrustUnreachable              the pool's workers cannot reach the trust you ask for
    │   └── BudgetExceeded                the next signature would spend more than the run's budget
    ├── ServiceError                  4   a service or the chain does not answer: start it, or try again
    │   ├── ServiceUnavailable            nobody answers at that address, or not in time
    │   ├── ServiceRefused                the service answered, and said no
    │   ├── RunInterrupted                nobody waits for the run's calls any more: resume it
    │   └── TransactionFailed             a transaction was refused or reverted
    │       ├── ContractReverted          the hub or a registry said no, with its reason
    │       └── DealLost                  a signed deal can never be mined: nothing is locked, sign it anew
    ├── VerificationError             5   what came back is not what was agreed: trust nobody, keep the evidence
    ├── JobError                      1   the job itself failed, and the network agreed that it did
    │   └── RemoteError                   a call raised what is not rebuilt here: its traceback is the cause
    └── HostFailure                   4   this machine could not run the job: never contributed as a result

Every message says what happened, why, and what to do next; the facts stay on the object as attributes.
"""

from __future__ import annotations

from decimal import Decimal

__all__ = [
    "BudgetExceeded",
    "CannotTravel",
    "ContractReverted",
    "DealLost",
    "FairgridError",
    "FundsError",
    "HostFailure",
    "JobError",
    "ManifestError",
    "OrderError",
    "RemoteError",
    "RunInterrupted",
    "ServiceError",
    "ServiceRefused",
    "ServiceUnavailable",
    "TransactionFailed",
    "TrustUnreachable",
    "UsageError",
    "VerificationError",
]


class FairgridError(Exception):
    """Root of everything that this package raises on purpose.

    ``exit_code`` is what the command line ends with (0 ok, 1 verified job error, 2 usage, 3 funds or trust,
    4 service or chain down, 5 verification failed).
    """

    exit_code = 4


class UsageError(FairgridError):
    """What the caller gave cannot be used."""

    exit_code = 2


class OrderError(UsageError):
    """An order is malformed, not signed by whom it should be, or does not fit the others."""


class ManifestError(UsageError):
    """A job manifest breaks its schema or its limits."""


class CannotTravel(UsageError):
    """A function, its constants or its arguments cannot go to another machine.

    Attributes: ``what`` says which part of which function or call it is, ``remedy`` what to do.
    """

    def __init__(self, what: str, why: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what} {why}. Nothing was sent. {remedy}")


class FundsError(FairgridError):
    """Money or trust is missing."""

    exit_code = 3


class TrustUnreachable(FundsError):
    """The pool's workers cannot reach the trust that was asked for.

    Attributes: ``asked`` and ``reachable`` are the chain's integer trust; a trust t reads as confidence 1 - 1/t.
    """

    def __init__(self, *, asked: int, reachable: int, owners: int) -> None:
        self.asked = asked
        self.reachable = reachable
        self.owners = owners
        confidence = Decimal(1) - Decimal(1) / Decimal(max(reachable, 1))
        super().__init__(
            f"This pool cannot reach trust {asked}: its {owners} connected owner(s) reach at most trust {reachable} "
            f"(confidence {confidence:.4f}). Nothing was signed. Ask for less with --trust, or wait for more workers."
        )


class BudgetExceeded(FundsError):
    """The next signature would spend more than the budget: nothing was signed. Amounts are in nRLC."""

    def __init__(self, *, needed: int, left: int, budget: int) -> None:
        self.needed = needed
        self.left = left
        self.budget = budget
        super().__init__(
            f"These calls need at least {needed} nRLC, and {left} nRLC of the budget of {budget} nRLC are left. "
            f"Nothing was signed. Give the executor a larger budget, or put more calls into one task (chunksize)."
        )


class ServiceError(FairgridError):
    """A service or the chain is not there, or says no."""

    exit_code = 4


class ServiceUnavailable(ServiceError):
    """Nobody answers at ``url``, or not in time."""

    def __init__(self, service: str, url: str, reason: str) -> None:
        self.service = service
        self.url = url
        self.reason = reason
        super().__init__(
            f"The {service} at {url} does not answer ({reason}). "
            f"Is it running? `fairgrid status` shows a local network; try again when it is up."
        )


class ServiceRefused(ServiceError):
    """A service answered and refused; ``status`` is its HTTP status."""

    def __init__(self, service: str, status: int, message: str) -> None:
        self.service = service
        self.status = status
        self.message = message
        super().__init__(f"The {service} refused: {message} (status {status}).")


class RunInterrupted(ServiceError):
    """Nobody waits for the calls of run ``run_id`` any more; its deals stay on chain, and are not paid for again."""

    def __init__(self, run_id: str, reason: str) -> None:
        self.run_id = run_id
        self.reason = reason
        super().__init__(
            f"Run {run_id} is not waited for any more ({reason}). What was paid for stays on chain: "
            f"Executor.resume({run_id!r}) fetches it, and no call is paid for again."
        )


class TransactionFailed(ServiceError):
    """A transaction was refused by the node or failed on chain; ``tx_hash`` is None when it was never sent."""

    def __init__(self, function: str, reason: str, *, tx_hash: str | None = None) -> None:
        self.function = function
        self.reason = reason
        self.tx_hash = tx_hash
        where = f" in transaction {tx_hash}" if tx_hash else ""
        super().__init__(f"{function} failed{where}: {reason}.")


class ContractReverted(TransactionFailed):
    """A contract refused a call; ``reason`` is its revert text, or ``(no data)``."""


class DealLost(TransactionFailed):
    """The match of a signed deal reverted, or another transaction took its place: nothing is locked, or will be."""


class VerificationError(FairgridError):
    """What came back is not what was agreed on chain. Nothing of it was shown or written."""

    exit_code = 5


class JobError(FairgridError):
    """The job itself failed, and enough workers agreed that it does."""

    exit_code = 1


class RemoteError(JobError):
    """A call raised an exception that is not rebuilt here.

    Attributes: ``kind`` is its class by name; ``__cause__`` has its traceback as text.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(f"{kind}: {message}" if message else kind)


class HostFailure(FairgridError):
    """This machine could not run the job (wall clock, disk, sandbox): never contributed as a result."""
