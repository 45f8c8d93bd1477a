"""Runs scripts of scientific Python in its own process: ``python -m tests.runtime.science_runs FOLDER [NAME ...]``.

Prints one JSON object: for each script the digest of its result and the fuel that it used.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from fairgrid.protocol.digest import entries_of_folder, tree_digest
from fairgrid.runtime.wasm.interpreters import find_runtime
from fairgrid.runtime.wasm.sandbox import WasmSandbox
from tests.runtime.modules import module_job

__all__ = ["DATA", "RUNTIME", "SCRIPTS", "run_scripts"]

RUNTIME = "wasmtime-49/sci315/deterministic"
SCRIPTS = Path(__file__).with_name("science")
DATA = b"city,year,rain\n" + b"".join(
    f"{city},{year},{(len(city) * year) % 97 / 7}\n".encode() for city in ("Ulm", "Bonn", "Kiel") for year in range(30)
)


async def run_scripts(sandbox: WasmSandbox, folder: Path, names: list[str]) -> dict[str, list[object]]:
    """By script: how it ended, its exit code, the digest of all that it wrote and said, and its fuel."""
    found: dict[str, list[object]] = {}
    for name in names:
        source = (SCRIPTS / f"{name}.py").read_bytes()
        job = module_job(folder / name, source, inputs={"data.csv": DATA}, name="script.py")
        outcome = await sandbox.run(job)
        (job.output_folder / "stdout.txt").write_bytes(outcome.stdout)
        (job.output_folder / "stderr.txt").write_bytes(outcome.stderr)
        digest = tree_digest(entries_of_folder(job.output_folder))
        found[name] = [outcome.stop.value, outcome.exit_code, digest, outcome.fuel_used]
        if outcome.exit_code:
            sys.stderr.write(f"{name}: {outcome.stderr.decode()}\n")
        sys.stderr.write(f"{name}: {outcome.wall_s:.1f} s, {outcome.cpu_s:.1f} s\n")
    return found


def main() -> None:
    names = sys.argv[2:] or sorted(path.stem for path in SCRIPTS.glob("*.py"))
    print(json.dumps(asyncio.run(run_scripts(find_runtime(RUNTIME).sandbox(), Path(sys.argv[1]), names)), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
