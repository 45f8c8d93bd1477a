"""`fairgrid`, and `python -m fairgrid`: Ctrl-C is answered from the first moment on, before anything is loaded."""

from __future__ import annotations

import json
import sys


def start() -> None:
    """Load the command line and run it."""
    try:
        from fairgrid.cli.main import main
    except KeyboardInterrupt:
        if "--json" in sys.argv:
            document = {"status": "interrupted", "error": "Interrupted", "message": "Interrupted.", "exitCode": 130}
            print(json.dumps(document, indent=2))  # noqa: T201
        sys.exit(130)
    main()


if __name__ == "__main__":
    start()
