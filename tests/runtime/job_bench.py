"""A job with its inputs, ready to be run by a test, and what such jobs usually do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.twin import FunctionSandbox
from fairgrid.runtime.wasm.sandbox import WasmSandbox

RUNTIME = "twin-1/function/none"
DEAL, TASK = "0x" + "11" * 32, "0x" + "22" * 32
CALLBACK = "0x" + "Ab" * 20
CONTEXT = TaskContext(deal_id=DEAL, task_id=TASK, index=0, bot_first=0, bot_size=1)
CALLBACK_CONTEXT = TaskContext(deal_id=DEAL, task_id=TASK, index=0, bot_first=0, bot_size=1, callback=CALLBACK)
FUEL = 30_000_000_000

Job = Callable[[SandboxJob], bytes | Outcome]


class Bench:
    """A script, inputs and a work folder, ready to run."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.files: dict[str, Path] = {}
        (base / "blobs").mkdir(parents=True)

    def file(self, name: str, content: bytes) -> FileRef:
        """Store a file as if it was fetched."""
        reference = FileRef(name, cid_of(content), len(content))
        self.files[reference.cid] = self.base / "blobs" / reference.cid
        self.files[reference.cid].write_bytes(content)
        return reference

    def manifest(
        self,
        source: str = "",
        *,
        runtime: str = RUNTIME,
        inputs: Mapping[str, bytes] | None = None,
        items: tuple[Item, ...] = (),
        resources: Resources | None = None,
    ) -> Manifest:
        """A manifest of a script."""
        return Manifest(
            script=self.file("script.py", source.encode()),
            runtime=runtime,
            resources=resources or Resources(fuel=FUEL),
            inputs=tuple(self.file(name, content) for name, content in (inputs or {}).items()),
            items=items,
        )

    async def run(
        self, manifest: Manifest, sandbox: WasmSandbox | FunctionSandbox, context: TaskContext = CONTEXT
    ) -> JobResult:
        """Run a task of the manifest."""
        return await run_job(
            manifest, manifest.cid(), context, inputs=self.files, workdir=self.base / "work", sandbox=sandbox, wall_s=40
        )

    async def run_function(self, job: Job, context: TaskContext = CONTEXT) -> JobResult:
        """Run a Python function as the job."""
        return await self.run(self.manifest(), FunctionSandbox(job, runtime_id=RUNTIME), context)


def write(job: SandboxJob, files: Mapping[str, str]) -> bytes:
    """The usual job: write these files and print nothing."""
    for name, content in files.items():
        target = job.output_folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    return b""


def stopped(stop: Stop, detail: str = "") -> Outcome:
    return Outcome(stop, 0, b"some", b"log", 5, 1.0, 6, detail)
