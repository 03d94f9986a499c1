"""The kernels compile for the GPUs of the benchmarks, within their gates, on a machine without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_main_shapes_compile_within_their_gates():
    """In a process of its own, because this one may interpret its kernels."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench.compile_report", "--quick"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for kernel in ("taps_kernel", "input_gradient_kernel", "weight_gradient_kernel", "mix_kernel", "reduce_kernel"):
        assert f"| {kernel} | 16 | bf16 | 90 |" in done.stdout
    for kernel in ("mix_kernel", "forward_kernel", "backward_kernel"):
        assert f"| {kernel} | 16 | fp16 | 75 |" in done.stdout
    assert "launches of a step, cell (1, 4): 46" in done.stdout
