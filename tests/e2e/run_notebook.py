"""Runs a notebook as a reader would, in a kernel of its own: ``python -m tests.e2e.run_notebook IN OUT``.

A process of its own, because kernels bring event loops and sockets that a test's process should not have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main() -> None:
    """Run the notebook in its folder; write what it looks like afterwards."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    book = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(source.parent)}}
    try:
        NotebookClient(book, timeout=600, kernel_name="python3", resources=resources).execute()
    finally:
        nbformat.write(book, target)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
