#!/usr/bin/python3
"""The program of a task in the Python of a worker's machine: runs the runner that lies among the inputs."""

from __future__ import annotations

import os
import runpy
import sys

sys.path.insert(0, os.environ["IEXEC_IN"])
runpy.run_path(os.path.join(os.environ["IEXEC_IN"], "fairgrid_runner.py"), run_name="__main__")
