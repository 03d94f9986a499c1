#!/usr/bin/env bash
# One run of less than nine minutes on a machine with a GPU, torch, triton, numpy and pytest, what matters most first:
# correctness, then the whole iteration beside the model's prediction, then kernels and tiles. bench/gpu2.sh is the rest.
# Files go to $OUT (default bench/results): gpu.log, gpu.csv, iteration_gpu.csv, the kernels' DEVICE.csv and .png, tune_*.csv.
set -u
log=gpu total="${TOTAL_S:-520}"
source "$(dirname "$0")/gpu_parts.sh"

"$python" -c 'import torch, triton; print("torch", torch.__version__, "triton", triton.__version__, torch.cuda.get_device_name())' 2>&1 |
    tee -a "$OUT/$log.log"
[ "${PIPESTATUS[0]}" -eq 0 ] || { echo "error: needs torch, triton and a GPU" >&2; exit 2; }
part ceilings 30 "$python" -c 'from bench.ceilings import measure_ceilings; print(measure_ceilings())'

# The tests mostly wait for the compiler: several processes at once. A wrong result ends the run, a missing one does not.
many=()
has xdist && many=(-n 12)
part correct 150 "$python" -m pytest -q -x -p no:cacheprovider "${many[@]}" tests/kernels/test_mixed_edge_triton.py \
    tests/kernels/test_mixed_edge_operator.py tests/kernels/test_resample_sum.py
checked=$?
if [ "$checked" -eq 1 ]; then
    echo "error: the kernels are wrong here, so nothing was timed: see $OUT/$log.log" >&2
    exit 1
elif [ "$checked" -ne 0 ]; then
    echo "caution: the kernels were not checked to the end (exit code $checked): what is timed below may be wrong" | tee -a "$OUT/$log.log"
fi
if command -v compute-sanitizer > /dev/null; then
    part sanitizer 60 compute-sanitizer --error-exitcode 9 "$python" -m bench.iteration --only fused --space small --seconds 0 --output /dev/null
fi

iteration() { # iteration SECONDS PROVIDER...
    local seconds=$1
    shift
    part "iteration" "$seconds" "$python" -m bench.iteration --model "${MODEL:-h100}" --seconds 2 --limit 75 --output "$OUT/iteration_gpu.csv" --providers "$@"
}
rm -f "$OUT/iteration_gpu.csv"
iteration 170 fused "fused pieces" reference "fused graph" "rewrite graph"

only=()
has pytest_benchmark && only=(--benchmark-only)
AUTOPOSE_BENCH_SECONDS=70 part kernels 95 "$python" -m pytest -q -p no:cacheprovider bench/test_kernels.py "${only[@]}" -k "module or cell"
part tune 120 "$python" -m bench.tune --seconds 110
exit "$failed"
