#!/usr/bin/env bash
# Kernel tests, compiled, then the kernels' benchmark, on a machine with a GPU, torch, triton, numpy, pytest and
# pytest-benchmark; from the repository root, less than 9 minutes. Files go to $OUT (default bench/results).
set -u
cd "$(dirname "$0")/.."
export OUT="${OUT:-$PWD/bench/results}" PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python="${PYTHON:-python3}"
mkdir -p "$OUT"
failed=0
SECONDS=0
total=520

part() { # part NAME SECONDS ARGUMENTS...: one pytest run, its output in $OUT/NAME.log as well
    local name=$1 seconds=$2 status
    shift 2
    echo "== $name (at most $seconds s)"
    timeout "$seconds" "$python" -m pytest -q -p no:cacheprovider "$@" 2>&1 | tee "$OUT/$name.log"
    status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || echo "== $name: exit code $status"
    return "$status"
}

bench() { # bench NAME PERCENT ARGUMENTS...: a group of cases, in a share of the time that is left
    local name=$1 seconds=$(((total - SECONDS) * $2 / 100))
    shift 2
    # No case begins in the last 25 seconds; one process a group, so that a fault in one leaves the others alone.
    AUTOPOSE_BENCH_SECONDS=$((seconds - 25)) part "bench_$name" "$seconds" bench/test_kernels.py --benchmark-only "$@"
    [ $? -eq 0 ] || failed=1
    export AUTOPOSE_BENCH_APPEND=1
}

"$python" -c 'import torch, triton; print("torch", torch.__version__, "triton", triton.__version__, torch.cuda.get_device_name())' ||
    { echo "error: needs torch, triton and a GPU" >&2; exit 2; }

# The tests mostly wait for the compiler: three processes at once.
triton_tests=tests/kernels/test_mixed_edge_triton.py
part tests_papers_shapes 190 $triton_tests -k paper & pids=($!)
part tests_cells 190 $triton_tests -k "not paper" & pids+=($!)
part tests_others 190 tests/kernels --ignore $triton_tests & pids+=($!)
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done

bench resample_sum 25 -k "resample_sum or mix-"
bench cells 60 -k "mixed_edge or cell"
bench modules 100 -k module
exit "$failed"
