#!/usr/bin/env bash
# The second run on a machine with a GPU, after bench/gpu.sh: compilers as opponents, the test suite, races, and a search
# on photographs where AUTOPOSE_TEST_DATA says where they are. Less than nine minutes; files go to $OUT.
set -u
log=gpu2 total="${TOTAL_S:-520}"
source "$(dirname "$0")/gpu_parts.sh"

part compiled 200 "$python" -m bench.iteration --model "${MODEL:-h100}" --seconds 2 --limit 190 --output "$OUT/iteration_compiled.csv" --providers "strong baseline" "fused fp32" "reference fp32"
many=()
has xdist && many=(-n 12)
part tests 180 "$python" -m pytest -q -p no:cacheprovider "${many[@]}" --maxfail=3 tests/kernels tests/models tests/nas
if command -v compute-sanitizer > /dev/null; then
    part races 60 compute-sanitizer --tool racecheck --error-exitcode 9 "$python" -m bench.iteration --only fused --space small --seconds 0 --output /dev/null
fi
if [ -n "${AUTOPOSE_TEST_DATA:-}" ] && has hydra; then
    part search 120 "$python" -m autopose.search experiment=lsp data.root="$AUTOPOSE_TEST_DATA/lsp" device=cuda hydra.run.dir="$OUT/gpu_search"
else
    echo "== search: AUTOPOSE_TEST_DATA is not set, or hydra is not here" | tee -a "$OUT/$log.log"
fi
exit "$failed"
