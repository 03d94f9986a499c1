"""Compare a search's scores with networks trained alone: ``python -m autopose.correlate checkpoint=PATH``."""

import logging
from dataclasses import replace

from autopose.command import main, overrides
from autopose.config import Config, from_checkpoint
from autopose.engine.correlation import correlate
from autopose.engine.reports import report_correlation
from autopose.engine.search import SearchRun, metric_name
from autopose.errors import UserError
from autopose.files import save_json
from autopose.functions import callable_module
from autopose.report.curves import draw_correlation
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> dict:
    """Train a seeded sample of architectures alone and print Kendall τ between the supernet's score and theirs."""
    if not config.checkpoint:
        raise UserError("correlate needs a search checkpoint: checkpoint=outputs/search/.../checkpoints/last.pt")
    content = read_checkpoint(config.checkpoint, "search")
    asked, resume = config.correlate, config.resume
    config = replace(from_checkpoint(content["config"], config, overrides()), correlate=asked, resume=resume)
    search = SearchRun(config, runtime)
    search.load(content)
    found = correlate(search, config, runtime)
    if runtime.is_main:
        path = runtime.folder / "correlation.json"
        save_json(path, found)
        rows, reward = found["rows"], config.search.reward
        names = (f"supernet: {metric_name(reward.metric)} on the reward subset ({reward.split} split)",
                 f"alone: {found['metric']} on {config.data.val_split}, epochs: {found['epochs']}")  # fmt: skip
        scores, alone = [row["supernet"] for row in rows], [row["alone"] for row in rows]
        draw_correlation(scores, alone, found["kendall_tau"], names, runtime.folder / "correlation.png")
        logger.info("")
        logger.info(
            "Kendall τ  %.3f (p = %.3f) over %d architectures", found["kendall_tau"], found["p_value"], len(rows)
        )
        logger.info("figure     %s", runtime.folder / "correlation.png")
        logger.info("file       %s", path)
        report_correlation(search, found, overrides(), "correlation.png")
    return found


callable_module(__name__)
if __name__ == "__main__":
    main("correlate", run)
