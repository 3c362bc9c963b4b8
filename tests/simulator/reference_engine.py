"""The engine's definition, step by step and sequence by sequence, as plainly as possible.

Nothing is skipped or summed in closed form and no state is shared with the simulator: the
time-skipping kernel must agree with this. The batch is walked in order of admission as
vLLM's scheduler does.
"""

from dataclasses import dataclass, field
from math import ceil, inf, nan


@dataclass
class Sequence:
    index: int
    arrival_s: float
    prompt: int
    output: int
    cached: int
    computed: int = 0
    generated: int = 0
    blocks: int = 0
    scheduled_s: float = nan
    first_token_s: float = nan
    last_token_s: float = nan
    finish_s: float = nan
    preemptions: int = 0
    status: str = "pending"
    decoding: bool = False  # it made a token in the previous step

    @property
    def known(self) -> int:
        return self.prompt + self.generated


@dataclass
class Counted:
    itl_s: list[float] = field(default_factory=list)
    iteration_tokens: list[int] = field(default_factory=list)
    steps: int = 0
    generated: int = 0
    prompts: int = 0
    queried: int = 0
    hits: int = 0
    preemptions: int = 0


class ReferenceEngine:
    def __init__(self, spec, arrival_s, prompt, output, cached):
        self.spec = spec
        self.free = spec.usable_blocks
        self.arriving = [
            Sequence(index, *row)
            for index, row in enumerate(zip(arrival_s, prompt, output, cached, strict=True))
        ]
        self.all = list(self.arriving)
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.now_s = self.arriving[0].arrival_s if self.arriving else 0.0
        self.counted = Counted()

    def run(self):
        while self.arriving or self.waiting or self.running:
            self.take_arrivals(self.now_s, inclusive=True)
            if self.waiting or self.running:
                self.step()
            elif self.arriving:
                self.now_s = self.arriving[0].arrival_s
        return self

    def take_arrivals(self, at_s, *, inclusive):
        spec = self.spec
        bound = inf if spec.max_queue_size is None else spec.max_num_seqs + spec.max_queue_size
        while self.arriving:
            head = self.arriving[0]
            if head.arrival_s > at_s or (head.arrival_s == at_s and not inclusive):
                break
            self.arriving.pop(0)
            self.lose_patience(head.arrival_s)
            if len(self.waiting) + len(self.running) >= bound:
                head.status, head.finish_s = "rejected", head.arrival_s
            else:
                head.status = "waiting"
                self.waiting.append(head)
        if inclusive:
            self.lose_patience(at_s)

    def lose_patience(self, at_s):
        for sequence in list(self.waiting):
            deadline_s = sequence.arrival_s + self.spec.queue_timeout_s
            if sequence.status == "waiting" and deadline_s <= at_s:
                sequence.status, sequence.finish_s = "timed_out", deadline_s
                self.waiting.remove(sequence)

    def blocks(self, tokens):
        return ceil(tokens / self.spec.block_size)

    def grow(self):
        """Give each decoding sequence a block if it needs one; tell whether any was preempted."""
        any_preempted = False
        position = 0
        while position < len(self.running):
            sequence = self.running[position]
            missing = self.blocks(sequence.computed + 1) - sequence.blocks
            if sequence.decoding and missing > 0:
                while self.free < missing and sequence in self.running:
                    self.preempt(self.running[-1])
                    any_preempted = True
                if sequence not in self.running:
                    break
                self.free -= missing
                sequence.blocks += missing
            position += 1
        return any_preempted

    def preempt(self, sequence):
        self.running.remove(sequence)
        self.free += sequence.blocks
        sequence.blocks = sequence.computed = 0
        sequence.decoding = False
        sequence.preemptions += 1
        sequence.status = "preempted"
        self.waiting.insert(0, sequence)
        self.counted.preemptions += 1

    def step(self):
        spec = self.spec
        any_preempted = self.grow()
        scheduled = [s for s in self.running if s.decoding]
        chunks = {s.index: 1 for s in scheduled}
        decodes = len(scheduled)
        budget = spec.max_num_batched_tokens - decodes
        prefill = 0
        for sequence in [s for s in self.running if s.index not in chunks]:
            chunk = min(budget, sequence.known - sequence.computed)
            if chunk:
                chunks[sequence.index] = chunk
                scheduled.append(sequence)
                budget -= chunk
                prefill += chunk
        while not any_preempted and self.waiting and budget > 0:
            head = self.waiting[0]
            if len(self.running) == spec.max_num_seqs or self.blocks(head.known) > self.free:
                break
            self.waiting.pop(0)
            self.admit(head)
            chunk = min(budget, head.known - head.computed)
            chunks[head.index] = chunk
            scheduled.append(head)
            budget -= chunk
            prefill += chunk
        for sequence in scheduled:
            sequence.computed += chunks[sequence.index]
        context = sum(s.computed for s in scheduled)
        step_s = (
            spec.iteration_base_s
            + decodes * spec.decode_slope_s
            + prefill * spec.prefill_slope_s
            + context * spec.kv_slope_s
        )
        self.now_s += step_s
        self.emit(scheduled)

    def admit(self, sequence):
        self.running.append(sequence)
        sequence.blocks = self.blocks(sequence.known)
        self.free -= sequence.blocks
        sequence.computed = sequence.cached
        if sequence.status == "waiting":
            sequence.scheduled_s = self.now_s
            self.counted.queried += sequence.prompt
            self.counted.hits += sequence.cached
        sequence.status = "running"

    def emit(self, scheduled):
        counted = self.counted
        tokens = prompts = 0
        finished = []
        for sequence in scheduled:
            if sequence.computed < sequence.known:
                continue
            tokens += 1
            if sequence.generated == 0:
                sequence.first_token_s = self.now_s
                prompts += sequence.prompt - sequence.cached
                counted.prompts += sequence.prompt
            else:
                counted.itl_s.append(self.now_s - sequence.last_token_s)
            sequence.last_token_s = self.now_s
            sequence.decoding = True
            sequence.generated += 1
            if sequence.generated == sequence.output:
                finished.append(sequence)
        counted.steps += 1
        counted.generated += tokens
        if tokens:
            counted.iteration_tokens.append(tokens + prompts)
        self.take_arrivals(self.now_s, inclusive=False)
        for sequence in finished:
            sequence.status, sequence.finish_s = "finished", self.now_s
            self.running.remove(sequence)
            self.free += sequence.blocks
