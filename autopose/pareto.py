"""A front of architectures from one search: ``python -m autopose.pareto checkpoint=PATH``."""

import csv
import logging
from dataclasses import replace
from pathlib import Path

from autopose.command import main, overrides
from autopose.config import Config, from_checkpoint
from autopose.engine.search import SearchRun, metric_name
from autopose.errors import UserError
from autopose.functions import callable_module
from autopose.report.front_figure import draw_front
from autopose.report.printed import train_command
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> list[dict]:
    """Evolve, write the front and print it."""
    try:
        from autopose.engine.pareto import ParetoSearch, save_front
    except ImportError as error:
        raise UserError(f"a front needs Optuna: pip install 'autopose[pool]' ({error})") from None
    if not config.checkpoint:
        raise UserError("pareto needs a search checkpoint: checkpoint=outputs/search/.../checkpoints/last.pt")
    if runtime.world_size > 1:
        raise UserError("pareto runs in one process: start it without torchrun")
    content = read_checkpoint(config.checkpoint, "search")
    own = {"checkpoint": config.checkpoint, "pareto": config.pareto, "resume": config.resume}
    config = replace(from_checkpoint(content["config"], config, overrides()), **own)
    search = SearchRun(config, runtime)
    search.load(content)
    evolution = ParetoSearch(search, config, runtime.folder)
    points = evolution.run()
    rows = save_front(points, runtime.folder, config.pareto.max_gmacs)
    table, figure, unit = runtime.folder / "pareto.csv", runtime.folder / "pareto.png", evolution.cost.unit
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    score = metric_name(search.reward.metric)
    draw_front(points, unit, score, figure)
    logger.info("\n| architecture | kind | %s | %s |\n| --- | --- | --- | --- |", score, unit)
    for row in rows:
        logger.info("| %s | %s | %.4g | %.4g |", row["architecture"], row["kind"], row["score"], row["cost"])
    logger.info("table      %s", table)
    logger.info("figure     %s", figure)
    logger.info("next       %s", train_command(config, Path(rows[-1]["architecture"])))
    return rows


callable_module(__name__)
if __name__ == "__main__":
    main("pareto", run)
