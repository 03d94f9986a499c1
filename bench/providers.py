"""Who computes a case: implementation, memory format, precision, and how it is launched."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.baseline import cells
from bench.cases import Case, Problem, build
from tests.numerics import FACTOR, FLOOR, relative_error

CHECK_BATCH = 2
RECOMPILE_LIMIT = 256
FLIPS = 1e-2
"""Floor for chained edges below float64: a value within a rounding of zero may pass the ReLU in one provider and not
in another, which changes a gradient by far more than a rounding."""


@dataclass(frozen=True)
class Provider:
    """One way to compute a case; the first of a list is what the others are compared with."""

    name: str
    implementation: str  # "reference", "aten" (the exact rewrite), "baseline" (the same for a compiler) or "fused"
    channels_last: bool = True
    half: bool = False  # bfloat16 activations under autocast
    launch: str = "eager"  # "eager", "graph" (CUDA graph), "default", "reduce-overhead" (torch.compile)

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.half else torch.float32

    @property
    def compiles(self) -> bool:
        return self.launch in ("default", "reduce-overhead")


CPU = (
    Provider("reference", "reference", channels_last=False),
    Provider("reference channels_last", "reference"),
    Provider("reference bf16", "reference", half=True),
    Provider("reference bf16 NCHW", "reference", channels_last=False, half=True),
    Provider("fused", "fused"),
    Provider("fused bf16", "fused", half=True),
)
GPU = (
    Provider("reference", "reference", channels_last=False),
    Provider("reference channels_last", "reference"),
    Provider("reference bf16", "reference", half=True),
    Provider("reference bf16 graph", "reference", half=True, launch="graph"),
    Provider("rewrite bf16", "aten", half=True),
    Provider("rewrite bf16 graph", "aten", half=True, launch="graph"),
    Provider("fused", "fused"),
    Provider("fused bf16", "fused", half=True),
    Provider("fused bf16 graph", "fused", half=True, launch="graph"),
)
COMPILED = tuple(
    Provider(f"compile {mode} bf16", "reference", half=True, launch=mode) for mode in ("default", "reduce-overhead")
)
BASELINE = (Provider("baseline bf16 graph", "baseline", half=True, launch="graph"),)
COMPILED_CPU = (Provider("compile default", "reference", launch="default"),)


def providers(case: Case, gpu: bool, full: bool) -> tuple[Provider, ...]:
    """Those that a case is measured with. torch.compile takes minutes a cell: only small cases unless ``full``."""
    small = case.operator in ("mixed_edge", "resample_sum") and case.variant == "0" and case.step == "step"
    if not gpu:
        return CPU + (COMPILED_CPU if full and small else ())
    # The one-op path of a module takes its choice from the host, which a graph cannot capture.
    listed = tuple(p for p in GPU if p.launch != "graph" or not case.variant.endswith("hard"))
    if case.operator == "mix":
        return tuple(p for p in listed if p.implementation != "aten")
    return listed + (COMPILED + BASELINE if full or (small and case.batch == 64) else ())


def prepare(provider: Provider, case: Case, device: str) -> Callable[[], object]:
    """A function that computes the case once."""
    memory_format = torch.channels_last if provider.channels_last else torch.contiguous_format
    problem = build(case, device, provider.dtype, memory_format)
    run = problem.run
    if provider.implementation == "baseline" and device == "cuda":
        raise_recompile_limit()
    if provider.compiles:
        raise_recompile_limit()
        mode = None if provider.launch == "default" else provider.launch
        run = torch.compile(run, mode=mode)

    def once():
        return compute(problem, provider, case.step, device, run)

    return graphed(once) if provider.launch == "graph" else once


def compute(problem: Problem, provider: Provider, step: str, device: str, run=None) -> list[Tensor | None]:
    """Outputs, and for a step the gradients of every leaf."""
    baseline = provider.implementation == "baseline"
    with torch.set_grad_enabled(step == "step"), cells(device == "cuda") if baseline else nullcontext():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=provider.half):
            outputs = list((run or problem.run)("reference" if baseline else provider.implementation))
        if step == "forward":
            return outputs
        pairs = [(y, g) for y, g in zip(outputs, problem.grads, strict=True) if y.requires_grad]
        grads = [g.to(y.dtype) for y, g in pairs]
        gradients = torch.autograd.grad([y for y, _ in pairs], problem.leaves, grads, allow_unused=True)
    return [*(y.detach() for y in outputs), *gradients]


class Truth:
    """The float64 reference of a case at a small batch, against which every provider is checked before it is timed."""

    def __init__(self, case: Case, device: str):
        self.case, self.device = case, device
        exact = Provider("float64", "reference", channels_last=False)
        problem = build(case, device, torch.float64, torch.contiguous_format, CHECK_BATCH)
        self.values = compute(problem, exact, case.step, device)
        self.errors: dict[torch.dtype, list[float]] = {}

    def check(self, provider: Provider) -> str:
        """Empty, or what is wrong: an error above `tests.numerics`'s rule; on a CPU float32 is checked in float64."""
        if provider.implementation == "reference":
            return ""
        dtype = torch.float64 if self.device == "cpu" and not provider.half else provider.dtype
        if dtype not in self.errors:
            self.errors[dtype] = self._errors(Provider("plain", "reference", half=provider.half), dtype)
        chained = dtype != torch.float64 and self.case.operator not in ("mixed_edge", "resample_sum")
        floor = max(FLOOR[dtype], FLIPS if chained else 0.0)
        pairs = zip(self._errors(provider, dtype), self.errors[dtype], strict=True)
        for index, (ours, theirs) in enumerate(pairs):
            if not ours <= FACTOR * theirs + floor:
                return f"incorrect: result {index} off by {ours:.1e}, allowed {FACTOR * theirs + floor:.1e}"
        return ""

    def _errors(self, provider: Provider, dtype: torch.dtype) -> list[float]:
        memory_format = torch.channels_last if provider.channels_last else torch.contiguous_format
        problem = build(self.case, self.device, dtype, memory_format, CHECK_BATCH)
        found = compute(problem, provider, self.case.step, self.device)
        pairs = [(a, b) for a, b in zip(found, self.values, strict=True) if b is not None]
        return [relative_error(a, b) for a, b in pairs]


def graphed(once: Callable[[], object]) -> Callable[[], object]:
    """``once`` captured in a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = once()
    return lambda: (graph.replay(), kept)


def raise_recompile_limit() -> None:
    """Dynamo falls back to eager in silence past its limit of 8."""
    config = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit"):
        if hasattr(config, name):
            setattr(config, name, RECOMPILE_LIMIT)
