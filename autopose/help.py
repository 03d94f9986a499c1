"""``--help`` of every command: what a key means is read from the schema's docstrings, its value is the composed one."""

import textwrap
from dataclasses import dataclass

WIDTH, COLUMN = 119, 34


@dataclass(frozen=True)
class Page:
    """What ``--help`` says of a command.

    Attributes:
        brief: its line in the list of commands.
        does: at most four lines more.
        examples: two command lines without ``python -m autopose.COMMAND``.
        keys: those that matter; the others are in ``--help-all``.
    """

    brief: str
    does: str = ""
    examples: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


PAGES = {
    "search": Page(
        "search an architecture (Algorithm 1) and derive it",
        """Trains a supernet whose edges mix their operations and whose branches a controller switches, then takes the
        best. Writes architecture.json, the curves of Fig. 6, a drawing, checkpoints and report.html, and prints the
        command that trains what was found. The quick experiment needs no data: it draws figures.""",
        ("experiment=quick name=first", "experiment=own data.root=MY_SET search.epochs=30"),
        (
            "experiment", "data.root", "data.image_size", "search.epochs", "search.iterations", "search.batch_size",
            "search.algorithm", "search.reward.metric", "search.trials.candidates", "space.channels",
            "space.operations", "kernels", "precision",
        ),
    ),
    "derive": Page(
        "derive again from a search's checkpoint",
        """Samples architectures from the controller of a search, scores them with the supernet's weights and writes
        the best as architecture.json (§3.3), as the search's own end does.""",
        ("checkpoint=SEARCH/checkpoints/last.pt", "checkpoint=SEARCH/checkpoints/last.pt search.derive_samples=50"),
        ("checkpoint", "search.derive_samples", "search.trials.candidates", "search.max_skips", "search.width"),
    ),
    "train": Page(
        "train an architecture from scratch, or fine-tune a checkpoint",
        """Trains the network of an architecture, scores it on the validation split and writes checkpoints/best.pt and
        last.pt, metrics.json, curves and report.html. checkpoint= starts from another training: layers that fit are
        taken, and the head by the names of its joints.""",
        (
            "architecture=SEARCH/architecture.json",
            "experiment=own data.root=MY_SET checkpoint=OTHER/checkpoints/best.pt train.lr=1e-4",
        ),
        (
            "experiment", "architecture", "checkpoint", "data.root", "data.image_size", "train.epochs",
            "train.batch_size", "train.lr", "train.width", "train.gmacs", "train.evaluate_every", "precision",
        ),
    ),
    "evaluate": Page(
        "score a checkpoint or a result file: AP, PCKh, PCK",
        """Scores on the validation split, prints the literature's table with its protocol beside a constant pose and
        writes metrics.json and report.html. The checkpoint brings its data and protocol; what is given here changes
        them. results= scores a COCO result file, of this software or of another.""",
        ("checkpoint=TRAIN/checkpoints/best.pt", "results=keypoints_val.json data=keypoints data.root=MY_SET"),
        (
            "checkpoint", "results", "data.root", "data.val_split", "data.detections", "evaluate.flip_test",
            "evaluate.decoding", "evaluate.nms", "evaluate.pck_alpha",
        ),
    ),
    "predict": Page(
        "poses on pictures and videos of your own",
        """Finds the joints of people and draws them, in pictures, folders, patterns, videos or a camera. Writes COCO
        results, a table, pictures and videos. One person fills a picture unless boxes= or a detector says where people
        are. What cannot be read is named and left out, and the exit code is 1.""",
        ("checkpoint=TRAIN/checkpoints/best.pt source=FOLDER", "checkpoint=best.pt source=clip.mp4 predict.track=true"),
        (
            "checkpoint", "source", "boxes", "detector", "predict.threshold", "predict.draw", "predict.track",
            "predict.smooth", "predict.most_frames", "evaluate.flip_test",
        ),
    ),
    "export": Page(
        "a file that runs without this software: ONNX or torch.export",
        """Writes the trained network with folded normalisation and a dynamic batch, joints, flip pairs, input size and
        normalisation inside, and compares it with PyTorch before it says done.""",
        ("checkpoint=TRAIN/checkpoints/best.pt out=pose.onnx", "checkpoint=best.pt export.int8=true"),
        ("checkpoint", "format", "out", "export.decode", "export.int8", "export.opset", "export.tolerance"),
    ),
    "flops": Page(
        "multiply-adds and parameters by stage and branch",
        """Counts by fvcore, checks the count by hand against it and prints both conventions, 10^9 multiply-adds and
        HRNet's 2^30. Without an architecture it counts the supernet with all branches on.""",
        ("architecture=SEARCH/architecture.json", "experiment=coco architecture=hrnet train.width=2"),
        ("experiment", "architecture", "train.width", "train.gmacs", "data.image_size", "space.channels"),
    ),
    "latency": Page(
        "how long a network takes here: PyTorch, ONNX Runtime, INT8, and each operation",
        """Times a network's forms in turn, at batches of 1 and latency.batch, prints the table and writes latency.json.
        latency.operations=true also writes operations.json, what each operation costs on each branch.""",
        ("checkpoint=TRAIN/checkpoints/best.pt", "experiment=coco architecture=hrnet latency.batch=4 threads=2"),
        (
            "checkpoint", "architecture", "train.width", "data.image_size", "latency.batch", "latency.rounds",
            "latency.operations",
        ),
    ),
    "correlate": Page(
        "the supernet's scores beside networks trained alone",
        """Draws architectures, scores them with the supernet of a search, trains each alone and prints Kendall's τ of
        the two orders. Writes correlation.json and a figure.""",
        ("checkpoint=SEARCH/checkpoints/last.pt", "checkpoint=SEARCH/checkpoints/last.pt correlate.architectures=30"),
        ("checkpoint", "correlate.architectures", "correlate.epochs", "correlate.width", "resume"),
    ),
    "pareto": Page(
        "a front of architectures, score against cost, from one search",
        """Evolves branches and operations with the supernet of a search (NSGA-II) for a high score and a low cost, and
        writes the front: architectures that train takes, a table, a figure with random and hand-made ones too.""",
        (
            "checkpoint=SEARCH/checkpoints/last.pt",
            "checkpoint=SEARCH/checkpoints/last.pt pareto.evaluations=1000 pareto.max_gmacs=0.02",
        ),
        ("checkpoint", "pareto.evaluations", "pareto.population", "pareto.latency_table", "pareto.max_gmacs", "resume"),
    ),
    "pool": Page(
        "train many architectures alike, and keep the table",
        """Draws architectures, trains each with the same recipe and writes the table of their scores, pool.json. More
        workers join by the same command, on other machines too, and a pool that was stopped goes on.""",
        ("experiment=pool", "experiment=pool pool.architectures=128 pool.workers=2"),
        (
            "experiment", "pool.architectures", "pool.seeds", "pool.band", "pool.include", "pool.proposed",
            "pool.workers", "pool.folder",
        ),
    ),
    "data": Page("convert labels of other tools, check a data set, cache its crops"),
    "compare": Page("runs side by side: a page and a picture"),
    "report": Page("one page for runs that belong together"),
}  # fmt: skip
ALWAYS = ("name", "seed", "device", "threads", "hydra.run.dir")
MEANINGS = {
    "experiment": "of configs/experiment: ",
    "data": "a data set's layout: ",
    "kernels": "every kernel's implementation: ",
    "hydra.run.dir": "the run's folder (outputs/COMMAND/NAME/TIME)",
}


def help_text(task: str, every_key: bool = False) -> str:
    """What ``--help`` prints, or ``--help-all``: with every key that the command uses and all that is said of it."""
    from autopose.config import USED, composed, documented

    page, meanings = PAGES[task], documented()
    values = dict(_flat(composed(task).to_dict()))
    lines = [f"autopose {task}: {page.brief}", "", textwrap.fill(" ".join(page.does.split()), WIDTH), "", "Examples:"]
    lines += [f"  python -m autopose.{task} {example}" for example in page.examples]
    if every_key:
        keys = [*_groups(), *(key for key in meanings if key in USED[task] and key != "task"), "hydra.run.dir"]
        lines += ["", "Keys, with their value where nothing is given:"]
    else:
        keys = list(dict.fromkeys((*page.keys, *ALWAYS)))
        lines += ["", "Keys that matter, with their value where nothing is given:"]
    for key in keys:
        shown = f"  {key}={_shown(values[key])}" if key in values else f"  {key}="
        meaning = _meaning(key, meanings)
        lines += _whole(shown, meaning) if every_key else [_line(shown, meaning)]
    return "\n".join([*lines, "", *([] if every_key else [MORE.format(task=task)]), EXIT_CODES])


MORE = """All keys of this command, and all that is said of them: --help-all. What would run, as YAML: --cfg job.
Several runs: -m with KEY=A,B. Hydra's own flags: --hydra-help."""
EXIT_CODES = """Exit codes: 0 done, 1 some inputs were left out, 2 a mistake in what was given, 3 numbers that are not
finite, 128 + n after signal n."""


def _meaning(key: str, meanings: dict[str, str]) -> str:
    choices = _groups().get(key)
    return MEANINGS.get(key, meanings.get(key, "")) + (", ".join(choices) if choices else "")


def _groups() -> dict[str, list[str]]:
    from autopose.config import choices

    return {name: sorted(choices(name), key=lambda choice: "/" in choice) for name in ("experiment", "data", "kernels")}


def _line(shown: str, meaning: str) -> str:
    shown = shown if len(shown) <= COLUMN else f"{shown[: COLUMN - 1]}…"
    return f"{shown:<{COLUMN}}  {textwrap.shorten(meaning, WIDTH - COLUMN - 2, placeholder=' …')}".rstrip()


def _whole(shown: str, meaning: str) -> list[str]:
    return [shown, *textwrap.wrap(meaning, WIDTH, initial_indent="      ", subsequent_indent="      ")]


def _shown(value: object) -> str:
    from autopose.config import quoted

    return quoted(list(value) if isinstance(value, tuple) else value)


def _flat(node: dict, prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in node.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found
