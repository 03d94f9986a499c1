"""What a pool's table says of the search: ``python -m bench.evidence`` writes ``bench/results/evidence.csv``.

Members of the pool are grouped: random ones of the band, hand-made ones, and those that searches found (included by
their files, ``pool.include=[found/NAME/architecture.json]``, NAME beginning with the kind of search). All were trained
with the same recipe on the same pictures. A hand-made architecture's sample are its seeds, a search's the networks that
it found, each by its mean over seeds. Of every four searches of a kind that ends with trials, and of every four random
ones of the band, in their order, the network with the least loss at the end of its first training stands once more, by
its second training alone: what one gets who trains four and keeps one.
Differences are Welch's t-tests against random ones of the band, against random ones of any size up to the band's end,
which is what a search with that limit draws from, and against the HRNet-like one, corrected by Holm over the tests of a
row. Sizes stand beside every row: numbers at other GMACs are no comparison.
"""

import argparse
import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autopose.metrics.significance import difference, holm, summarise
from autopose.pool import Entry, Table

RESULTS = Path(__file__).parent / "results"
RANDOM, HRNET, PREDICTED = "random, of the band", "hrnet", "found by predictors"
FULL, UP_TO = "random, full range", "random, up to the band's end"
TOGETHER = 4
BEST, BEST_RANDOM = (f"best of {TOGETHER} {what}, trained again" for what in ("found with trials", RANDOM))
# The same or in part the same networks.
NESTED = ({RANDOM}, {UP_TO}, {HRNET}, {FULL, UP_TO})


def groups(table: Table) -> dict[str, list[Entry]]:
    """Entries by what they stand for."""
    found: dict[str, list[Entry]] = {RANDOM: [], FULL: []}
    for entry in table:
        if entry.name.startswith("random"):
            found[RANDOM if entry.band else FULL].append(entry)
            continue
        if entry.name.startswith("predicted-"):
            found.setdefault(PREDICTED, []).append(entry)
            continue
        kind = re.fullmatch(r"(?:.*~)?([a-z_]+)[-\d]*~architecture\.json", entry.name)
        found.setdefault(f"searched, {kind[1]}" if kind else entry.name, []).append(entry)
    return {name: entries for name, entries in found.items() if entries}


def sample(entries: Sequence[Entry], metric: str) -> list[float]:
    """One value an architecture, or of a single architecture one a seed."""
    if len(entries) == 1:
        return [scores[metric] for scores in entries[0].scores.values()]
    return [entry.mean(metric) for entry in entries]


def numbered(table: Table) -> dict[str, dict[int, Entry]]:
    """Networks that searches found, by the kind of search and its number."""
    found: dict[str, dict[int, Entry]] = {}
    for entry in table:
        match = re.fullmatch(r"(?:.*~)?([a-z_]+)-(\d+)~architecture\.json", entry.name)
        if match:
            found.setdefault(match[1], {})[int(match[2])] = entry
    return found


def best_of_four(table: Table, again: Table | None) -> dict[str, dict[str, float]]:
    """Of every four searches, or random networks of the band, the best by the first training's last loss.

    Args:
        again: second trainings of those so chosen, which the pool itself does not count.

    Returns:
        by what they are, the second trainings' scores by the networks' names, where there was a second.
    """
    random = [entry for entry in table if entry.band and entry.name.startswith("random")]
    kinds = {BEST_RANDOM: [sorted(random, key=lambda entry: entry.name)], BEST: []}
    for kind, of in numbered(table).items():
        if "trials" in kind:
            kinds[BEST].append([of[number] for number in sorted(of)])
    best: dict[str, dict[str, float]] = {}
    for what, lists in kinds.items():
        for entries in lists:
            for start in range(0, len(entries) - TOGETHER + 1, TOGETHER):
                entry = min(entries[start : start + TOGETHER], key=lambda entry: entry.losses[0][-1])
                more = again.query(entry.architecture, entry.width) if again is not None else None
                scores = {**(more.scores if more is not None else {}), **entry.scores}
                if 1 in scores:
                    best.setdefault(what, {})[entry.name] = scores[1][table.metric]
    return best


def rows_of(table: Table, again: Table | None = None) -> list[dict]:
    """A row a group, with corrected p values against the random ones and the HRNet-like one."""
    found = groups(table)
    end = max((entry.gmacs for entry in found.get(RANDOM, [])), default=0.0)
    found |= {UP_TO: few} if (few := [entry for entry in found.get(FULL, []) if entry.gmacs <= end]) else {}
    values = {name: sample(entries, table.metric) for name, entries in found.items()}
    for what, scores in best_of_four(table, again).items():
        found[what], values[what] = [entry for entry in table if entry.name in scores], [*scores.values()]
    corrected: dict[tuple[str, str], float] = {}
    for name in found:
        others = [other for other in (RANDOM, UP_TO, HRNET) if other in found and {name, other} not in NESTED]
        raw = {other: difference(values[name], values[other], paired=False) for other in others}
        known = [other for other in raw if np.isfinite(raw[other])]
        corrected |= zip([(name, other) for other in known], holm([raw[other] for other in known]), strict=True)
    random = np.array(values.get(RANDOM, []))
    rows = []
    for name, entries in found.items():
        got = summarise(values[name])
        sizes = [entry.gmacs for entry in entries]
        rows.append({
            "what": name, "networks": len(entries), "score": str(got),
            "GMACs": f"{min(sizes):.4f} to {max(sizes):.4f}",
            "share of the band's random ones below": round(float((random < got.mean).mean()), 2) if len(random) else "",
            **{f"p against {other}": _p(corrected.get((name, other))) for other in (RANDOM, UP_TO, HRNET)},
        })  # fmt: skip
    return rows


def paired(table: Table) -> list[str]:
    """Of a search and the same with another choice at its end (KIND-N and KIND_trials-N): their paired difference."""
    found, lines = numbered(table), []
    for kind, entries in found.items():
        other = found.get(f"{kind}_trials", {})
        numbers = sorted(entries.keys() & other.keys())
        if numbers:
            first, second = ([of[n].mean(table.metric) for n in numbers] for of in (other, entries))
            gain = summarise(np.subtract(first, second))
            p = difference(first, second, paired=True)
            lines.append(f"{kind}, the last choice by trials instead of rewards: {gain}, paired p = {p:.3g}")
    return lines


def best_against_random(table: Table, again: Table | None = None) -> list[str]:
    """What four searches are worth to one who trains four networks anyway."""
    best = best_of_four(table, again)
    if not {BEST, BEST_RANDOM} <= best.keys():
        return []
    found, random = ([*best[what].values()] for what in (BEST, BEST_RANDOM))
    gain = np.mean(found) - np.mean(random)
    return [f"{BEST}, against {BEST_RANDOM}: {gain:+.2f}, p = {difference(found, random, paired=False):.3g}"]


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=RESULTS / "pool.json")
    parser.add_argument("--again", type=Path, help="second trainings of some (default: POOL_again.json beside it)")
    parser.add_argument("--output", type=Path, default=RESULTS / "evidence.csv")
    asked = parser.parse_args()
    beside = asked.pool.with_stem(f"{asked.pool.stem}_again")
    seconds = asked.again or (beside if beside.is_file() else None)
    table, again = Table.load(asked.pool), Table.load(seconds) if seconds else None
    rows = rows_of(table, again)
    print(f"constant pose: {table.constant[table.metric]:.2f}\n")
    print("| " + " | ".join(rows[0]) + " |\n" + "| --- " * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    print("\n".join(["", *paired(table), *best_against_random(table, again)]))
    with asked.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
