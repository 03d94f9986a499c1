"""Kernels against their references: every case checked, then its providers timed in turn."""

import math
import time

import pytest
import torch

from autopose.runs.timing import Interleaved
from bench.cases import build, case_list
from bench.providers import Truth, prepare, providers

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
BATCHES = (16, 64) if GPU else (2, 16)
SECONDS_A_CASE = 1.0 if GPU else 2.5
ROUNDS = (5 if GPU else 3, 50)
FAILURES = (RuntimeError, ValueError, AssertionError, NotImplementedError, TypeError)
"""What a provider that cannot run raises; its row says so and the others are still timed."""


@pytest.mark.parametrize("case", case_list(BATCHES, GPU), ids=lambda case: case.name)
def test_speed(case, benchmark, results, hardware, ceilings, deadline, request):
    if time.monotonic() > deadline:
        pytest.skip("the time for the benchmark is used up")
    listed = providers(case, GPU, request.config.getoption("--full"))
    functions, status = _checked(case, listed)
    timer = Interleaved(functions, GPU)
    start = time.perf_counter()
    timer.warm_up(1)
    each = time.perf_counter() - start
    rounds = max(ROUNDS[0], min(ROUNDS[1], math.ceil(SECONDS_A_CASE / max(each, 1e-6))))
    benchmark.pedantic(timer.round, rounds=rounds)
    rows = _rows(case, listed, timer.timings(), status, ceilings)
    results.add([row | hardware for row in rows])
    benchmark.extra_info |= {row["provider"]: row["p50_ms"] for row in rows if row["status"] == "timed"}
    wrong = {name: text for name, text in status.items() if text and not name.startswith("compile")}
    assert not wrong, wrong


def _checked(case, listed):
    """The providers that pass their check, as functions, and what is wrong with the others."""
    truth = Truth(case, DEVICE)
    functions, status = {}, {}
    for provider in listed:
        try:
            status[provider.name] = truth.check(provider)
            if not status[provider.name]:
                function = prepare(provider, case, DEVICE)
                for _ in range(3 if GPU else 0):  # A module on a CPU takes seconds: the timer's own round warms up.
                    function()
                functions[provider.name] = function
        except FAILURES as error:
            status[provider.name] = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return functions, status


def _rows(case, listed, timings, status, ceilings):
    base = timings.get(listed[0].name)
    problem = build(case, "cpu", torch.float32, torch.contiguous_format, 1)
    passes = 3 if case.step == "step" else 1
    rows = []
    for provider in listed:
        timing = timings.get(provider.name)
        row = dict(operator=case.operator, variant=case.variant, step=case.step, batch=case.batch)
        row |= dict(provider=provider.name, status=status[provider.name] or "timed")
        if timing is not None:
            row |= dict(p20_ms=timing.p20_ms, p50_ms=timing.p50_ms, p80_ms=timing.p80_ms, rounds=timing.rounds)
            row["speedup"] = base.p50_ms / timing.p50_ms if base is not None else ""
            if ceilings is not None:
                row |= _shares(problem, case.batch * passes, provider, timing.p50_ms / 1e3, ceilings, case.step)
        rows.append(row)
    return rows


def _shares(problem, images, provider, seconds, ceilings, step):
    """Shares of the measured ceilings that the least possible work would have reached in this time."""
    shares = {}
    if problem.macs:
        shares["flops_share"] = problem.macs * images / seconds / ceilings.macs_per_s
    if problem.tensor_bytes:
        # A step also reads the result's gradient and the sources (for the weights'), and writes the sources' gradients.
        size = 0.5 if provider.half else 1.0
        shares["bandwidth_share"] = problem.tensor_bytes * size * images / seconds / ceilings.bytes_per_s
    return shares
