"""Tables of times as text: forms of one network, and sums of parts beside whole networks."""

from collections.abc import Mapping, Sequence

from scipy.stats import kendalltau


def format_forms(rows: Sequence[Mapping], missing: Mapping[str, str]) -> str:
    """A line a form and batch: median, spread and the ratio to ONNX Runtime; missing forms say why.

    Args:
        rows: of ``deploy.latency.rows_of``.
        missing: why, by form.
    """
    lines = [f"{'form':<36} {'batch':>5} {'median ms':>10} {'20-80 % ms':>17} {'of ONNX':>8}"]
    for row in rows:
        ratio = f"{row['ratio']:.2f}x" if row["ratio"] else "n/a"
        spread = f"{row['p20_ms']:.2f} - {row['p80_ms']:.2f}"
        lines.append(f"{row['form']:<36} {row['batch']:>5} {row['p50_ms']:>10.2f} {spread:>17} {ratio:>8}")
    lines += [f"{name:<36} not measured: {why}" for name, why in missing.items()]
    if rows:
        lines.append(f"{rows[0]['rounds']} calls of each, in turn")
    return "\n".join(lines)


def format_check(rows: Sequence[Mapping], form: str) -> str:
    """Whole networks beside the sums of their parts (``autopose.space.latency``), and how alike both order them.

    Args:
        form: what ran.
    """
    lines = [f"{'network':<16} {'batch':>5} {'measured ms':>12} {'sum ms':>10} {'error':>8}"]
    lines += [
        f"{row['architecture']:<16} {row['batch']:>5} {row['measured_ms']:>12.2f} {row['sum_ms']:>10.2f} "
        f"{100 * row['error']:>+7.1f}%"
        for row in rows
    ]
    for batch in sorted({row["batch"] for row in rows}):
        pairs = [(row["measured_ms"], row["sum_ms"]) for row in rows if row["batch"] == batch]
        tau = kendalltau(*zip(*pairs, strict=True)).statistic
        lines.append(f"order at batch {batch}: Kendall tau {tau:.2f} over {len(pairs)} networks")
    return "\n".join([*lines, f"measured in {form}"])
