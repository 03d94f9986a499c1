"""The kernels compile and are launched right for the GPUs of the benchmarks, on a machine without one.

In processes of their own, because this one may interpret its kernels.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

launch = pytest.importorskip("autopose.kernels._triton.launch")
pytestmark = pytest.mark.skipif(launch.VERSION < (3, 6), reason="both tools need Triton 3.6")
ROOT = Path(__file__).resolve().parents[2]


def run(module: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, "--quick"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.timeout(600)
def test_main_shapes_compile_within_their_gates():
    done = run("bench.compile_report")
    for kernel in ("taps_kernel", "input_gradient_kernel", "weight_gradient_kernel", "mix_kernel", "reduce_kernel"):
        assert f"| {kernel} | 16 | bf16 | 90 |" in done.stdout
    for kernel in ("mix_kernel", "forward_kernel", "backward_kernel"):
        assert f"| {kernel} | 16 | fp16 | 75 |" in done.stdout
    assert "launches of a step, cell (1, 4): 30" in done.stdout


@pytest.mark.timeout(600)
def test_kept_launches_are_those_that_triton_would_make():
    assert re.search(r"compared [1-9]\d+ launches with Triton's own: 0 kernels differ", run("bench.host").stdout)


@pytest.mark.timeout(600)
@pytest.mark.skipif(launch.VERSION < (3, 7), reason="the table is of later code")
def test_the_cost_model_knows_what_the_code_issues():
    assert "| input_gradient_kernel | 16 |" in run("bench.issue").stdout
