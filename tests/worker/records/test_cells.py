"""What cells took: kept one by one, found by task, added up by engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from fairgrid.runtime.engines.interface import CellUse
from fairgrid.runtime.interface import Limits, SandboxJob
from fairgrid.worker.computing.cells import CellBook
from fairgrid.worker.records.cells import CellRecord, CellSum, add_cell, cells_of, sum_of_cells
from fairgrid.worker.records.store import WorkerStore

TASK = "0x" + "22" * 32
CELL = CellRecord(TASK, "3", "slurm", "17_3", "node7", 2, 1.5, 10.0, 1000.0)


def job_of(folder: Path) -> SandboxJob:
    return SandboxJob(
        script=folder / "s",
        arguments=(),
        input_folder=folder,
        output_folder=folder,
        environment={"IEXEC_TASK_ID": TASK, "IEXEC_TASK_INDEX": "3"},
        seed=b"",
        limits=Limits(fuel=1, cpus=2),
    )


def test_cells_are_found_by_task_and_added_up_by_engine(tmp_path: Path) -> None:
    store = WorkerStore.open(tmp_path / "worker.sqlite")
    other = replace(CELL, task_id="0x" + "33" * 32, node="node8", ran_s=5.0, queued_s=0.5)
    for cell in (CELL, other, replace(CELL, engine="ray", cpus=1)):
        add_cell(store, cell)
    assert cells_of(store, TASK) == (CELL, replace(CELL, engine="ray", cpus=1))
    assert sum_of_cells(store) == (CellSum("ray", 1, 1, 10.0, 1.5), CellSum("slurm", 2, 2, 30.0, 2.0))
    store.close()


async def test_the_book_tells_the_story_the_metrics_and_the_accounts(tmp_path: Path) -> None:
    store = WorkerStore.open(tmp_path / "worker.sqlite")
    tally: Counter[str] = Counter()
    book = CellBook("slurm", tally)
    book.keep_in(store)
    await book.used(job_of(tmp_path), CellUse("17_3", "node7", 1.5, 10.0))
    assert book.where(TASK) == "on node7 (slurm 17_3, waited 1.5 s)"
    assert book.where(TASK) == ""
    assert tally == Counter(cells=1, cell_queued_ms=1500, cell_ran_ms=10_000)
    (kept,) = cells_of(store, TASK)
    assert (kept.engine_id, kept.node, kept.cpus, kept.task_index) == ("17_3", "node7", 2, "3")
    store.close()


async def test_a_database_that_cannot_be_written_does_not_cost_the_result(tmp_path: Path) -> None:
    store = WorkerStore.open(tmp_path / "worker.sqlite")
    with store.database.begin() as connection:
        connection.exec_driver_sql("DROP TABLE worker_cell")
    tally: Counter[str] = Counter()
    book = CellBook("slurm", tally)
    book.keep_in(store)
    await book.used(job_of(tmp_path), CellUse("17_3", "node7", 1.5, 10.0))
    assert tally["cells"] == 1
    store.close()
