"""Starts the prelude in the interpreter of scientific Python: ``science.py SCRIPT [ARGUMENT ...]``.

That interpreter takes no options; what ``-I -B`` does elsewhere is done here.
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = True
if sys.path and sys.path[0] == "/.fairgrid":
    del sys.path[0]
with open("/.fairgrid/prelude.py", "rb") as _file:
    _source = _file.read()
__file__ = "/.fairgrid/prelude.py"
exec(compile(_source, __file__, "exec", dont_inherit=True), globals())
