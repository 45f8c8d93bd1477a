"""`python -m fairgrid` is the `fairgrid` command."""

from __future__ import annotations

from fairgrid.cli.main import main

main()
