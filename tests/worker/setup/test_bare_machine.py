"""A machine on which nothing was installed but the package: what a worker there offers, and that it computes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.protocol.app_types import Level
from fairgrid.runtime.interface import Stop
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.setup.offering import offered
from tests.runtime.modules import command, module_job

MODULES = "wasmtime-49/wasi/deterministic"
TOOLS = ("oci/linux-x86_64", "oci-gvisor/linux-x86_64", "vm/x86_64")


async def test_a_worker_without_any_optional_tool_offers_webassembly_and_runs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path / "cache"))
    policy = WorkerPolicy(levels=tuple(Level), runtimes=(MODULES, *TOOLS))
    async with offered(policy, tmp_path, address="0x" + "ab" * 20, tally=Counter(), current=lambda: policy) as offer:
        assert set(offer.runtimes) == {MODULES}
        outcome = await offer.runtimes[MODULES].sandbox.run(module_job(tmp_path / "job", command("")))
        assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome


async def test_a_worker_whose_owner_allows_only_what_is_not_there_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    policy = WorkerPolicy(levels=(Level.VM,))
    with pytest.raises(HostFailure, match=r"No runtime works on this machine: .*qemu-system-x86_64"):
        async with offered(policy, tmp_path, address="0x" + "ab" * 20, tally=Counter(), current=lambda: policy):
            pass
