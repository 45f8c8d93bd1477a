"""`verify=`: what users may say, what it means, and that it is refused before anything is signed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import pytest

import fairgrid
from fairgrid.client.client import TrustWish
from fairgrid.errors import FundsError, OrderError, UsageError
from fairgrid.executors.backend import Terms
from fairgrid.executors.grid import GridBackend
from fairgrid.executors.places import verification_of
from fairgrid.executors.verification import VerificationKind, explain, parse_verification
from fairgrid.pool.client import PoolInfo
from tests.executors.stage import Stage


@pytest.mark.parametrize(
    "text", ["none", "tee", "replicate:3", "audit:5%", "audit:0.5%", "audit:100%", "replicate:100"]
)
def test_what_is_said_is_what_is_asked(text: str) -> None:
    asked = parse_verification(text.upper() + " ")
    assert asked.text == text
    assert asked.kind is VerificationKind(text.partition(":")[0])


@pytest.mark.parametrize(
    "text",
    ["", "replicate", "replicate:1", "replicate:101", "replicate:-3", "audit:0%", "audit:101%", "audit:5", "sgx"],
)
def test_anything_else_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(UsageError, match="replicate:N"):
        parse_verification(text)


def test_trust_and_verify_exclude_each_other() -> None:
    assert verification_of(None, None).confidence == "0.9"
    assert verification_of(0.99, None).confidence == "0.99"
    assert verification_of(None, "replicate:3").replicas == 3
    assert verification_of(None, "audit:5%").audit_share == Decimal("0.05")
    assert verification_of(None, "none").confidence == "0"
    with pytest.raises(UsageError, match="one of the two"):
        verification_of(0.5, "none")
    with pytest.raises(UsageError, match="one of the two"):
        verification_of(None, "none", workers_at_least=3)


class Market:
    """A market whose pool has some orders."""

    def __init__(self, *tags: str) -> None:
        self.tags = tags

    async def workerpool_orders(self, **options: Any) -> list[Any]:
        class Entry:
            def __init__(self, tag: str) -> None:
                self.order = type("Order", (), {"tag": tag})

        return [Entry(tag) for tag in self.tags]


class Pool:
    """A pool that publishes how much it audits."""

    def __init__(self, audit_share: float) -> None:
        self.audit_share = audit_share

    async def info(self) -> PoolInfo:
        return PoolInfo("1", 1, 1, "hub", "pool", "scheduler", 8, 8, self.audit_share)


def backend(verify: str, *, audit_share: float = 0.0, tags: tuple[str, ...] = ()) -> GridBackend:
    class Asked:
        pool = Pool(audit_share)
        market = Market(*tags)

    nobody = cast(Any, None)
    return GridBackend(
        nobody,
        nobody,
        journal_folder=nobody,
        wish=TrustWish("0"),
        client=cast(Any, Asked()),
        verification=parse_verification(verify),
    )


async def test_an_audit_is_had_only_where_the_pool_says_that_it_audits_so_much() -> None:
    await backend("audit:5%", audit_share=0.05).check_reachable()
    with pytest.raises(FundsError, match=r"audits 4\.00%.*verify='audit:4%'") as caught:
        await backend("audit:5%", audit_share=0.04).check_reachable()
    assert "Nothing was signed" in str(caught.value)
    with pytest.raises(FundsError, match=r"does not audit.*replicate"):
        await backend("audit:5%").check_reachable()


async def test_no_enclave_is_promised() -> None:
    plain, tee = f"0x{1 << 16:064x}", f"0x{9:064x}"
    with pytest.raises(OrderError, match=r"no order.*trusted execution"):
        await backend("tee", tags=(plain,)).check_reachable()
    with pytest.raises(OrderError, match="do not run in an enclave"):
        await backend("tee", tags=(plain, tee)).check_reachable()
    await backend("none").check_reachable()


TERMS = Terms(101, 10, "python", workers=8, workers_per_task=4, on_chain=True)


def test_an_explanation_says_what_is_guaranteed_by_whom_and_what_it_costs() -> None:
    text = explain(TERMS)
    assert "At least 4 workers" in text and "1 result in 10" in text and "A task costs" in text
    alone = Terms(101, 1, "python", workers=8, on_chain=True)
    assert "One worker" in explain(alone) and "does not audit" in explain(alone)
    audited = Terms(101, 1, "python", workers=8, on_chain=True, audit_share=0.05)
    assert "5.00%" in explain(audited) and "escapes 14 of them" in explain(audited)
    assert "pool's policy" in explain(audited)


def test_an_executor_explains_itself(stage: Stage) -> None:
    with stage.executor() as ex:
        assert ex.explain() == (
            "Computed on this machine alone: what it says is as true as your own computer. No chain knows of it.\n"
            "It costs nothing."
        )


def test_verify_is_kept_for_a_resumed_run(stage: Stage) -> None:
    with stage.executor(verify="replicate:3") as ex:
        run_id = ex.run_id
        assert ex.submit(len, [1]).result() == 1
    with stage.resume(run_id) as again:
        assert again.submit(len, [1]).result() == 1
    with pytest.raises(UsageError, match="one of the two"):
        fairgrid.Executor("here", verify="none", trust=0.5)
