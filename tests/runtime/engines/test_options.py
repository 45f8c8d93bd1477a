"""The table ``[engine]``: whole tables are read, everything else is refused with what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import UsageError
from fairgrid.runtime.engines.options import EngineKind, EngineOptions, SlurmMode, engine_options
from fairgrid.worker.owner.policy_file import load_policy

IMAGE = "registry.example/fairgrid@sha256:" + "ab" * 32
KUBERNETES = {"kind": "kubernetes", "image": IMAGE, "volume_claim": "shared", "volume_path": "/shared"}


def test_a_whole_table_is_read() -> None:
    table = {"kind": "slurm", "mode": "allocation", "partition": "short", "poll_s": 2, "submit": ["--qos=low"]}
    assert engine_options(table) == EngineOptions(
        kind=EngineKind.SLURM, mode=SlurmMode.ALLOCATION, partition="short", poll_s=2.0, submit=("--qos=low",)
    )
    assert engine_options(KUBERNETES).image == IMAGE
    assert not engine_options({"kind": "ray", "address": "127.0.0.1:6379", "shared_folder": False}).shared_folder


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("slurm", "must be a table"),
        ({}, "kind must be one of slurm, ray"),
        ({"kind": "torque"}, "kind must be one of"),
        ({"kind": "slurm", "que": "x"}, "unknown keys: que"),
        ({"kind": "slurm", "address": "a:1"}, "address is a key of ray and dask, not of slurm"),
        ({"kind": "ray", "partition": "p", "address": "a:1"}, "partition is a key of slurm"),
        ({"kind": "ray"}, "needs address"),
        ({"kind": "kubernetes", "image": IMAGE}, "needs volume_claim"),
        (KUBERNETES | {"image": "fairgrid:latest"}, "by digest"),
        (KUBERNETES | {"volume_path": "shared"}, "whole path"),
        ({"kind": "slurm", "poll_s": 0}, "seconds from 0.1 to 60"),
        ({"kind": "slurm", "poll_s": True}, "seconds from 0.1 to 60"),
        ({"kind": "slurm", "allocation_slots": 0}, "whole number from 1 to 1024"),
        ({"kind": "slurm", "allocation_slots": True}, "whole number from 1 to 1024"),
        ({"kind": "slurm", "mode": "arrays"}, "one of jobs, allocation"),
        ({"kind": "slurm", "partition": "p --uid=0"}, "a name of letters"),
        ({"kind": "slurm", "account": "-x"}, "a name of letters"),
        ({"kind": "slurm", "python": "python3"}, "whole path"),
        ({"kind": "dask", "address": "--evil"}, "without blanks"),
        ({"kind": "dask", "address": "a", "shared_folder": "no"}, "true or false"),
        ({"kind": "slurm", "submit": "--qos=low"}, "list of texts"),
        ({"kind": "slurm", "gpus": 65}, "whole number from 0 to 64"),
        ({"kind": "slurm", "gpus": 1, "mode": "allocation"}, "no graphics processors. Use mode = 'jobs'"),
        ({"kind": "ray", "address": "a:1", "gpu_type": "a100"}, "gpu_type is a key of slurm"),
        (KUBERNETES | {"gpus": 1}, "a pod without privileges starts no containers"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(table: Any, words: str) -> None:
    with pytest.raises(UsageError, match=r"engine.*" + words):
        engine_options(table)


@pytest.mark.parametrize(
    ("kind", "line", "taken"),
    [
        ("slurm", "--constraint=avx2&ib", True),
        ("slurm", "--exclusive", True),
        ("slurm", "--wrap=rm", False),
        ("slurm", "--uid=0", False),
        ("slurm", "--output=/etc/passwd", False),
        ("slurm", "--requeue", False),
        ("slurm", "--qos=a\n#SBATCH --uid=0", False),
        ("ray", "resources.big=1", True),
        ("ray", "num_cpus=9", False),
        ("dask", "priority=-5", True),
        ("dask", "key=x", False),
        ("htcondor", '+ProjectName = "lab"', True),
        ("htcondor", "requirements = Memory > 1", True),
        ("htcondor", "executable = /bin/sh", False),
        ("htcondor", "requirements = x\nexecutable = /bin/sh", False),
        ("kubernetes", "toleration.dedicated=grid:NoSchedule", True),
        ("kubernetes", "serviceAccountName=admin", False),
        ("kubernetes", "hostNetwork=true", False),
    ],
)
def test_the_owner_may_only_add_what_cannot_change_what_runs(kind: str, line: str, taken: bool) -> None:
    table: dict[str, Any] = {"kind": kind, "submit": [line]}
    table |= {"address": "a:1"} if kind in ("ray", "dask") else KUBERNETES if kind == "kubernetes" else {}
    if taken:
        assert engine_options(table).submit == (line,)
    else:
        with pytest.raises(UsageError, match=r"submit may not hold .* docs/engines\.md"):
            engine_options(table)


def test_the_table_is_part_of_the_owners_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('slots = 64\n[engine]\nkind = "slurm"\npartition = "short"\n')
    policy = load_policy(path)
    assert policy.slots == 64 and policy.engine is not None and policy.engine.partition == "short"
    path.write_text('[engine]\nkind = "slurm"\nquue = "short"\n')
    with pytest.raises(UsageError, match=r"policy\.toml: \[engine\] has unknown keys: quue"):
        load_policy(path)
