"""``run.json``: what a run did, in words and numbers that its page and a comparison of runs are made of.

Keys: version, task, name, command, started, finished, machine, clock (see ``runs.clock``), title, headline
{name: text}, facts {name: text}, scores (a list: title, columns [[header, value]], constant [value] or null, protocol,
counts, by_joint {joint: percent}), tables (a list: title, header, rows), figures [[file, caption]], next (or null).
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from autopose.errors import UserError
from autopose.evaluation.scoring import Score
from autopose.files import save_json
from autopose.runs.machine import machine
from autopose.space import Architecture

VERSION = 1
FILE = "run.json"


def save_summary(
    folder: Path,
    task: str,
    name: str,
    command: str,
    clock: Mapping,
    *,
    title: str,
    headline: Mapping[str, str],
    facts: Mapping[str, str] = (),
    scores: Sequence[Score] = (),
    joints: Sequence[str] = (),
    tables: Sequence[Mapping] = (),
    figures: Mapping[str, str] = (),
    next_command: str | None = None,
) -> None:
    """Write ``run.json`` into a run's folder.

    Args:
        clock: of ``Clock.report()``.
        joints: names whose own values in a score's metrics are shown joint by joint.
        figures: caption by file name; those that are not in the folder are left out.
    """
    finished = time.time()
    save_json(
        folder / FILE,
        {
            "version": VERSION,
            "task": task,
            "name": name,
            "command": command,
            "started": _moment(finished - clock["seconds"]),
            "finished": _moment(finished),
            "machine": _machine_lines(),
            "clock": dict(clock),
            "title": title,
            "headline": dict(headline),
            "facts": dict(facts),
            "scores": [_score(score, joints) for score in scores],
            "tables": list(tables),
            "figures": [[file, caption] for file, caption in dict(figures).items() if (folder / file).is_file()],
            "next": next_command,
        },
    )


def read_summary(folder: Path) -> dict:
    """``run.json`` of a run's folder.

    Raises:
        UserError: it is missing (the run has not ended), unreadable or of another version.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} has no {FILE}: expected the folder of a run that ended") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {str(error)[:100]}") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise UserError(f"{path} is not of version {VERSION}: it was written by other software, or edited")
    return content


def _machine_lines() -> dict[str, str]:
    found = machine()
    return {
        "device": f"{found['gpu'] or found['cpu']}, {torch.get_num_threads()} thread(s)",
        "versions": f"Python {found['python']}, PyTorch {found['torch']}",
    }


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _score(score: Score, joints: Sequence[str]) -> dict:
    return {
        "title": score.protocol.get("metric", "score").split(",")[0],
        "columns": [[header, score.metrics[key]] for header, key in score.columns],
        "constant": [score.constant[key] for _, key in score.columns] if score.constant else None,
        "protocol": score.protocol,
        "counts": score.counts,
        "by_joint": {name: score.metrics[name] for name in joints if name in score.metrics},
    }


def found_facts(architecture: Architecture) -> dict[str, str]:
    """How an architecture was found, a line each."""
    found = architecture.found_by
    names = {
        "builtin": "built in as", "algorithm": "algorithm", "seed": "seed", "step": "iterations",
        "reward_metric": "reward", "reward_split": "reward's split", "dataset": "data",
    }  # fmt: skip
    return {"β by stage": str(architecture.macro), **{v: str(found[k]) for k, v in names.items() if k in found}}
