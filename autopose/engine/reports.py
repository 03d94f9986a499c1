"""What a finished run leaves for people: ``run.json`` and ``report.html``."""

import logging
from collections.abc import Sequence

from autopose.config import Config
from autopose.data.schema import KeypointSchema
from autopose.engine.search import SearchRun, metric_name
from autopose.errors import UserError
from autopose.evaluation.scoring import Score
from autopose.report import contact_sheet
from autopose.report.printed import run_command, size_line
from autopose.report.run_page import FILE, write_run_page
from autopose.report.summary import found_facts, save_summary
from autopose.runs.runtime import Runtime
from autopose.space import Architecture

logger = logging.getLogger("autopose")
# Pictures of a prediction that its page shows.
SHOWN = 6
FIGURES = {
    "architecture.png": "The architecture: stages and branches above, the operation of every edge below.",
    "search_curves.png": "The search, as the paper's Fig. 6: entropies of both levels, rewards and losses by epoch.",
    "training_curves.png": "The training.",
    contact_sheet.FILE: "People of the validation split: truth to the left, prediction to the right.",
}


def report_search(
    run: SearchRun, architecture: Architecture, given: Sequence[str], next_command: str, task: str = "search"
) -> None:
    """Write the page of a finished search, or of a derivation from one."""
    config, folder, joints = run.config, run.runtime.folder, run.bilevel.network.num_joints
    metric = metric_name(config.search.reward.metric)
    candidates = run.candidates()
    rows = [[row["beta"], f"{row['reward']:.4f}", row["source"], str(row["times"])] for row in candidates]
    header = ["β", "reward", "from", "times"]
    if any("loss" in row for row in candidates):
        longer = any("last_loss" in row for row in candidates)
        header += ["loss of its trials", "trials", *["loss at last"] * longer]
        for row, shown in zip(candidates, rows, strict=True):
            shown += [f"{row['loss']:.3e}", str(row["trials"])] if "loss" in row else ["", ""]
            shown += [f"{row['last_loss']:.3e}" if "last_loss" in row else ""] * longer
    size = size_line(architecture, config.search.width, config.data.image_size, joints)
    save_summary(
        folder, task, config.name, run_command(task, given), run.clock.report(),
        title="An architecture was found",
        headline={
            "β by stage": str(architecture.macro).strip("[]"),
            f"reward ({metric}, shared weights)": f"{architecture.found_by['reward']:.3f}",
        },
        facts={**found_facts(architecture), "size": size},
        tables=[{"title": "Candidates of the derivation", "header": header, "rows": rows}],
        figures=FIGURES,
        next_command=next_command,
    )  # fmt: skip
    _write_page(run.runtime)


def report_scores(
    task: str,
    config: Config,
    runtime: Runtime,
    clock: dict,
    scores: Sequence[Score],
    schema: KeypointSchema,
    given: Sequence[str],
    facts: dict[str, str],
    next_command: str | None,
) -> None:
    """Write the page of a finished training or evaluation."""
    main = scores[0]
    facts = {**facts, "data set": " ".join(filter(None, [config.data.kind, config.data.root]))}
    headline = {header: f"{main.metrics[key]:.3f}" for header, key in main.columns[:1]}
    if "Mean" in scores[-1].metrics:
        headline["mean PCK, %"] = f"{scores[-1].metrics['Mean']:.1f}"
    title = {"train": "A network was trained", "evaluate": "A network was evaluated"}[task]
    save_summary(
        runtime.folder, task, config.name, run_command(task, given), clock, title=title, headline=headline, facts=facts,
        scores=scores, joints=schema.joints, figures=FIGURES, next_command=next_command,
    )  # fmt: skip
    _write_page(runtime)


def report_correlation(run: SearchRun, found: dict, given: Sequence[str], figure: str) -> None:
    """Write the page of a comparison of the supernet with networks trained alone.

    Args:
        found: of ``engine.correlation.correlate``; figure: the file's name.
    """
    rows = [[row["beta"], f"{row['supernet']:.4f}", f"{row['alone']:.4f}"] for row in found["rows"]]
    save_summary(
        run.runtime.folder, "correlate", run.config.name, run_command("correlate", given), run.clock.report(),
        title="The supernet's scores beside networks trained alone",
        headline={"Kendall τ": f"{found['kendall_tau']:.3f}", "architectures": str(len(rows))},
        facts={"p": f"{found['p_value']:.3f}", "epochs of each": str(found["epochs"])},
        tables=[{"title": "Architectures", "header": ["β", "supernet", f"alone: {found['metric']}"], "rows": rows}],
        figures={figure: "Every point is an architecture."},
    )  # fmt: skip
    _write_page(run.runtime)


def report_prediction(
    config: Config,
    runtime: Runtime,
    clock: dict,
    given: Sequence[str],
    pictures: Sequence[str],
    headline: dict[str, str],
    facts: dict[str, str],
) -> None:
    """Write the page of predictions on a user's pictures.

    Args:
        pictures: names below ``pictures/``, of which the first are shown.
        headline, facts: name to text.
    """
    save_summary(
        runtime.folder, "predict", config.name, run_command("predict", given), clock,
        title="Poses were predicted", headline=headline, facts={"checkpoint": str(config.checkpoint), **facts},
        figures={f"pictures/{name}": name for name in pictures[:SHOWN]},
    )  # fmt: skip
    _write_page(runtime)


def _write_page(runtime: Runtime) -> None:
    path = runtime.folder / FILE
    try:
        write_run_page([runtime.folder], path)
    except UserError as error:
        # The run's results are written; a disk that has no room for their page takes nothing from them.
        logger.warning("caution    %s", error)
        return
    logger.info("page       %s", path)
