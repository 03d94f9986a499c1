# What bench/gpu.sh and bench/gpu2.sh share. Every part is a process of its own with a time limit; its output goes to
# $OUT/$log.log as it comes, its exit code and seconds to $OUT/$log.csv.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OUT="${OUT:-$PWD/bench/results}" PYTHONUNBUFFERED=1
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python="${PYTHON:-python3}"
failed=0
SECONDS=0
mkdir -p "$OUT"
: > "$OUT/$log.log"
echo "part,exit_code,seconds" > "$OUT/$log.csv"

# Packages that the machine lacks, from wheels that bench/wheels.sh fetched where there is a network.
wheels="${WHEELS:-$PWD/.whl}"
if [ -d "$wheels" ]; then
    "$python" -m pip install -q --no-index --no-deps --upgrade --target "$wheels/site" "$wheels"/*.whl >> "$OUT/$log.log" 2>&1 ||
        echo "caution: not all wheels of $wheels could be installed: see $OUT/$log.log" | tee -a "$OUT/$log.log"
    export PYTHONPATH="$PYTHONPATH:$wheels/site"
fi

# Whose data sheet the predicted times are of: the card's own, where bench/roofline.py has it.
if [ -z "${MODEL:-}" ]; then
    card="$("$python" -c 'import torch; print(torch.cuda.get_device_name().lower().replace(" ", ""))' 2> /dev/null)"
    for MODEL in h200 a100 rtx4090 h100; do
        [[ "$card" != *"$MODEL"* ]] || break
    done
fi

has() { "$python" -c "import $1" 2> /dev/null; }

part() { # part NAME SECONDS COMMAND...: within what is left of $total seconds; returns the command's exit code
    local name=$1 seconds=$2 started=$SECONDS status
    shift 2
    [ "$seconds" -le $((total - SECONDS)) ] || seconds=$((total - SECONDS))
    if [ "$seconds" -lt 1 ]; then
        echo "== $name: no time is left"
        echo "$name,,0" >> "$OUT/$log.csv"
        return 124
    fi
    echo "== $name (at most $seconds s)" | tee -a "$OUT/$log.log"
    timeout --kill-after=5 "$seconds" "$@" 2>&1 | tee -a "$OUT/$log.log"
    status=${PIPESTATUS[0]}
    echo "$name,$status,$((SECONDS - started))" >> "$OUT/$log.csv"
    [ "$status" -eq 0 ] || { echo "== $name: exit code $status" | tee -a "$OUT/$log.log"; failed=1; }
    return "$status"
}
