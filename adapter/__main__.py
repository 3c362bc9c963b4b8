"""`python -m adapter`: the same as `wva`."""

import sys

from .cli import main

sys.exit(main())
