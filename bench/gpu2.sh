#!/usr/bin/env bash
# The second run on a machine with a GPU, after bench/gpu.sh: compilers as opponents, the test suite, memory and races, and a search
# on photographs where AUTOPOSE_TEST_DATA says where they are. Less than nine minutes; files go to $OUT.
set -u
log=gpu2 total="${TOTAL_S:-520}"
source "$(dirname "$0")/gpu_parts.sh"

# A compiler may take all of its time, so it comes last of its part.
part compiled 270 "$python" -m bench.iteration --model "$MODEL" --seconds 2 --limit 230 --output "$OUT/iteration_compiled.csv" --providers "fused fp32" "reference fp32" "strong baseline"
many=()
has xdist && many=(-n 12)
part tests 170 "$python" -m pytest -q -p no:cacheprovider "${many[@]}" --maxfail=3 tests/kernels tests/models tests/nas
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do
        part "$tool" 45 compute-sanitizer --tool "$tool" --error-exitcode 9 "$python" -m bench.iteration --only fused --space small --seconds 0 --output /dev/null
    done
fi
if [ -n "${AUTOPOSE_TEST_DATA:-}" ] && has hydra; then
    found=$(mktemp -d)
    part search 120 "$python" -m autopose.search experiment=lsp data.root="$AUTOPOSE_TEST_DATA/lsp" device=cuda hydra.run.dir="$found"
    cp "$found"/report.html "$found"/metrics.jsonl "$OUT" 2> /dev/null
else
    echo "== search: AUTOPOSE_TEST_DATA is not set, or hydra is not here" | tee -a "$OUT/$log.log"
fi
exit "$failed"
