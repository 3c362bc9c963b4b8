"""`wva audit`: what WVA would have done, from the Prometheus history of what is there today.

Read-only, nothing installed. The past is reproduced before anything is claimed: where the
simulation doesn't come close to what was recorded, there is no verdict.
"""

from .command import run

__all__ = ["run"]
