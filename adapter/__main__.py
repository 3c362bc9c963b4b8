"""`python -m adapter`: the same as `wva`.

Imports nothing before it is ready to be interrupted: Ctrl-C ends it quietly from the start.
"""

import sys

__all__ = ["main"]

INTERRUPTED = 130  # as shells have it: 128 and the signal's number


def main() -> int:
    """Run `wva` and return its exit code."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
