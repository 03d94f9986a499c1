#!/usr/bin/env bash
# Kernel tests, compiled, then the kernels' benchmark, on a machine with a GPU, torch, triton, numpy, pytest and
# pytest-benchmark; from the repository root, less than 9 minutes. Files go to $OUT (default bench/results).
set -u
cd "$(dirname "$0")/.."
export OUT="${OUT:-$PWD/bench/results}" PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python="${PYTHON:-python3}"
mkdir -p "$OUT"
failed=0

part() { # part NAME SECONDS ARGUMENTS...: one pytest run, its output in $OUT/NAME.log as well
    local name=$1 seconds=$2
    shift 2
    echo "== $name (at most $seconds s)"
    timeout "$seconds" "$python" -m pytest -q -p no:cacheprovider "$@" 2>&1 | tee "$OUT/$name.log"
    local status=${PIPESTATUS[0]}
    if [ "$status" -ne 0 ]; then
        echo "== $name: exit code $status"
        failed=1
    fi
}

"$python" -c 'import torch, triton; print("torch", torch.__version__, "triton", triton.__version__, torch.cuda.get_device_name())' ||
    { echo "error: needs torch, triton and a GPU" >&2; exit 2; }

part kernel_tests 190 tests/kernels
# One process for each group: an illegal access in one leaves the others' device context alone.
AUTOPOSE_BENCH_SECONDS=60 part bench_resample_sum 80 bench/test_kernels.py --benchmark-only -k resample_sum
export AUTOPOSE_BENCH_APPEND=1
AUTOPOSE_BENCH_SECONDS=120 part bench_cells 150 bench/test_kernels.py --benchmark-only -k "mixed_edge or cell"
AUTOPOSE_BENCH_SECONDS=80 part bench_modules 110 bench/test_kernels.py --benchmark-only -k module
exit "$failed"
