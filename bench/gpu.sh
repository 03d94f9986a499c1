#!/usr/bin/env bash
# One run of less than nine minutes on a machine with a GPU, torch, triton, numpy and pytest, what matters most first:
# correctness of what is timed, the whole iteration beside the model's prediction, all kernels' tests, kernels and tiles.
# bench/gpu2.sh is the rest.
# Files go to $OUT (default bench/results): gpu.log, gpu.csv, iteration_gpu.csv, the kernels' DEVICE.csv and .png, tune_*.csv.
set -u
log=gpu total="${TOTAL_S:-520}"
source "$(dirname "$0")/gpu_parts.sh"

"$python" -c 'import torch, triton; print("torch", torch.__version__, "triton", triton.__version__, torch.cuda.get_device_name())' 2>&1 |
    tee -a "$OUT/$log.log"
[ "${PIPESTATUS[0]}" -eq 0 ] || { echo "error: needs torch, triton and a GPU" >&2; exit 2; }
part ceilings 30 "$python" -c 'from bench.ceilings import measure_ceilings; print(measure_ceilings())'

# What is timed below is checked first, the kernels at the paper's shapes. Tests mostly wait for the compiler: several
# processes at once, which also fill its cache. A wrong result ends the run, a missing one does not.
many=()
has xdist && many=(-n 12)
correct() {
    part correct 120 "$python" -m pytest -q -x -p no:cacheprovider "${many[@]}" \
        tests/kernels/test_mixed_edge_triton.py::test_paper_shapes_in_half_precision \
        tests/kernels/test_mixed_cell.py::test_compression_at_the_papers_shapes \
        tests/kernels/test_resample_sum.py::test_triton_error_at_the_papers_shapes
    checked=$?
}
correct
if [ "$checked" -eq 1 ] && [ -z "${AUTOPOSE_POINTWISE:-}" ]; then
    echo "caution: wrong with the 1x1 convolutions made anew where they are read: from here on they are stored" | tee -a "$OUT/$log.log"
    export AUTOPOSE_POINTWISE=stored
    correct
fi
if [ "$checked" -eq 1 ]; then
    echo "error: the kernels are wrong here, so nothing was timed: see $OUT/$log.log" >&2
    exit 1
elif [ "$checked" -ne 0 ]; then
    echo "caution: the kernels were not checked to the end (exit code $checked): what is timed below may be wrong" | tee -a "$OUT/$log.log"
fi

part graphs 60 "$python" -m pytest -q --tb=short -p no:cacheprovider "${many[@]}" \
    tests/kernels/test_mixed_edge_operator.py::test_captured_in_a_graph \
    tests/models/test_pieces.py::test_gradients_are_the_plain_steps_whatever_was_captured_first ||
    echo "caution: steps as graphs were not found right here: the times of \"fused pieces\" and \"fused graph\" may be of wrong steps" | tee -a "$OUT/$log.log"

iteration() { # iteration SECONDS PROVIDER...
    local seconds=$1
    shift
    part "iteration" "$seconds" "$python" -m bench.iteration --model "$MODEL" --seconds 2 --limit 75 --output "$OUT/iteration_gpu.csv" --providers "$@"
}
rm -f "$OUT/iteration_gpu.csv"
iteration 200 fused "fused pieces" reference "fused graph" "rewrite graph"

# All of the kernels' tests: one that fails here, of a shape that nobody times or for the library's reasons, ends nothing.
part tests 90 "$python" -m pytest -q --tb=short -p no:cacheprovider "${many[@]}" tests/kernels/test_mixed_edge_triton.py \
    tests/kernels/test_mixed_edge_operator.py tests/kernels/test_resample_sum.py
only=()
has pytest_benchmark && only=(--benchmark-only)
AUTOPOSE_BENCH_SECONDS=60 part kernels 85 "$python" -m pytest -q -p no:cacheprovider bench/test_kernels.py "${only[@]}" -k "module or cell"
# The other ways of the 1x1 convolutions: planes of their own at every width, and none up to 64 channels.
for way in stored made; do
    AUTOPOSE_POINTWISE=$way part "iteration 1x1 $way" 40 "$python" -m bench.iteration --model "$MODEL" --seconds 2 --limit 35 \
        --output "$OUT/iteration_gpu_$way.csv" --providers "fused graph"
done
# What is left, the start of its processes apart: a share of it is for checking, so it must know how much there is.
left=$((total - SECONDS - 10))
part tune 120 "$python" -m bench.tune --seconds "$((left < 110 ? (left > 1 ? left : 1) : 110))"
exit "$failed"
