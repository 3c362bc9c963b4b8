"""What requests cost an engine: time per iteration, prefill, decode, and slots to run in.

The structure is that of "Model B" (a request's own work counted once, prompts computed in
chunks), with separate slopes for decoded and prompt tokens, lengths by two moments, and
decode steps counted as engines make them: a request of O output tokens has its first one
from the last iteration of its prompt and needs O - 1 more. Model B's O is therefore our
O - 1; with both slopes equal and all lengths alike its formulas come out.

Sources: llm-inferno/queue-analysis (June 2026) for the structure; Ramani and Tantawi,
"An approximate parameterized queueing model of LLM inference serving", MASCOTS 2026.
"""

from dataclasses import dataclass

import numpy as np

from .domain import BoolArray, Columns, EngineLimits, FloatArray, IntArray, ServiceProfiles
from .domain import Workloads as _Workloads

__all__ = []
