"""``python -m disrouter``: the command line."""

from __future__ import annotations

from disrouter.cli import main

if __name__ == "__main__":  # processes that are spawned import this file again
    main()
