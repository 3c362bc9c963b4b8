"""Give memory back: what starting up used and nothing needs, and what a tick used and is free.

Reading a thousand variants' settings and the first pages leaves a heap full of holes, which
glibc keeps until it is asked for them.
"""

import ctypes
import gc

__all__ = ["return_free_pages", "settle_heap"]

# Of glibc alone. Where the C library is another one, there is nothing to ask for.
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


def settle_heap() -> None:
    """Collect garbage once more, and keep what is left out of later collections.

    For a process that has come to rest: what lives now lives as long as the process, so
    looking at it again whenever garbage is collected would only make ticks longer.
    """
    gc.collect()
    gc.freeze()
    return_free_pages()


def return_free_pages() -> None:
    """Give free pages back to the system; some milliseconds for a heap of 200 MiB."""
    if _TRIM is not None:
        _TRIM(0)
