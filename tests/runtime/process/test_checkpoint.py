"""A native job's checkpoint: what it renames into place survives, and the next run goes on from there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.runtime.checkpoints import CheckpointFolder
from fairgrid.runtime.interface import Stop
from fairgrid.runtime.process.sandbox import ProcessSandbox
from tests.runtime.process.conftest import native_job, until

COUNT = """
    #!/bin/sh
    cd /fairgrid_checkpoint
    at=$(cat at 2>/dev/null || echo 0)
    while [ "$at" -lt 6 ]; do
      at=$((at + 1))
      echo "step $at"
      echo "$at" > at.new
      mv at.new at
      [ "$at" = "$1" ] && sleep 60
    done
    echo "$at" > /iexec_out/at
    """


async def test_a_killed_job_goes_on_from_what_it_renamed_into_place(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    first = native_job(tmp_path / "first", COUNT, arguments=("3",))
    task = asyncio.ensure_future(sandbox.run(replace(first, checkpoint=True, checkpoint_folder=saved)))

    def at_three() -> bool:
        found = CheckpointFolder(saved).load()
        return found is not None and found.files["at"].read_text() == "3\n"

    await until(at_three)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    second = native_job(tmp_path / "second", COUNT, arguments=("never",))
    outcome = await sandbox.run(replace(second, checkpoint=True, checkpoint_folder=saved))
    assert (outcome.stop, outcome.exit_code, outcome.resumed) == (Stop.EXITED, 0, True)
    assert (second.output_folder / "at").read_text() == "6\n"
    assert outcome.stdout.decode().splitlines()[-3:] == ["step 4", "step 5", "step 6"]
    assert outcome.stdout.decode().startswith("step 1\n")


async def test_links_and_files_that_are_still_written_are_not_saved(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("nobody's business")
    saved = tmp_path / "saved"
    saved.mkdir()
    source = f"""
        #!/bin/sh
        cd /fairgrid_checkpoint
        ln -s {secret} link.new && mv link.new link
        mkfifo pipe.new && mv pipe.new pipe
        mkdir folder.new && mv folder.new folder
        echo half > half
        echo whole > whole.new && mv whole.new whole
        """
    job = native_job(tmp_path / "job", source)
    outcome = await sandbox.run(replace(job, checkpoint=True, checkpoint_folder=saved))
    assert (outcome.exit_code, outcome.resumed) == (0, False)
    found = CheckpointFolder(saved).load()
    assert found is not None and {*found.files} == {"whole"}


async def test_without_a_place_to_save_the_folder_is_there_all_the_same(
    sandbox: ProcessSandbox, tmp_path: Path
) -> None:
    job = native_job(tmp_path / "job", COUNT, arguments=("never",))
    outcome = await sandbox.run(replace(job, checkpoint=True))
    assert (outcome.exit_code, outcome.resumed) == (0, False)
