"""Which keys each command uses. A key that a command does not use is refused: it would change nothing, silently."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from autopose.config.schema import Config
from autopose.errors import UserError
from autopose.space import MacroSpace
from autopose.space.builtin import BUILTIN

# Of every command.
COMMON = ("task", "name", "seed", "device", "threads", "precision", "deterministic", "experiment", "hydra")


@dataclass(frozen=True)
class Keys:
    """Keys and groups that a command uses, and those below them that it does not."""

    used: tuple[str, ...]
    unused: tuple[str, ...] = ()

    def __contains__(self, key: str) -> bool:
        return _below(key, (*COMMON, *self.used)) and not _below(key, self.unused)


_DETECTED = ("data.box_source", "data.detections", "data.score_threshold")
_TRAINING = ("data.crops",)
_ARCHITECTURE = ("architecture", "architecture_seed", "architecture_gmacs")
_SCHEDULE = (
    "search.epochs", "search.iterations", "search.weight_optimizer", "search.weight_lr", "search.weight_lr_end",
    "search.weight_decay", "search.grad_clip", "search.alpha_lr", "search.alpha_betas", "search.alpha_weight_decay",
    "search.alpha_start_epoch", "search.training_beta", "search.gumbel", "search.accumulate", "search.paths",
    "search.sampling", "search.graphs", "search.max_bad_steps", "search.checkpoint_every",
    "search.keep_checkpoints", "search.health",
)  # fmt: skip
# train, evaluate: of what a search finds; they go into the command that it prints.
USED = {
    "search": Keys(
        ("resume", "tracker", "dry_run", "trace", "space", "data", "search", "train", "evaluate", "kernels"), _DETECTED
    ),
    "derive": Keys(("checkpoint", "data", "search", "train", "evaluate", "kernels"), (*_DETECTED, *_SCHEDULE)),
    "correlate": Keys(
        ("checkpoint", "resume", "trace", "correlate", "data", "search", "train", "evaluate", "kernels"), _SCHEDULE
    ),
    "pareto": Keys(
        ("checkpoint", "resume", "pareto", "data", "search", "train", "evaluate", "kernels"), _SCHEDULE
    ),
    "pool": Keys(
        ("pool", "space", "data", "train", "evaluate", "kernels"), ("space.alpha_sharing", "space.supernet_affine",
        "train.gmacs", "train.checkpoint_every")
    ),
    "train": Keys(
        ("resume", "tracker", "dry_run", "trace", *_ARCHITECTURE, "checkpoint", "space", "data", "train", "evaluate",
         "kernels"),
        ("space.alpha_sharing", "space.supernet_affine"),
    ),
    "evaluate": Keys(("checkpoint", "results", "data", "evaluate", "kernels"), _TRAINING),
    "predict": Keys(
        ("checkpoint", "source", "images", "boxes", "detector", "predict", "data", "evaluate", "kernels"),
        _TRAINING,
    ),
    "export": Keys(("checkpoint", "format", "out", "export", "data", "evaluate", "kernels"), _TRAINING),
    "latency": Keys(
        (*_ARCHITECTURE, "checkpoint", "latency", "space", "data", "train", "export.opset", "export.tolerance"),
        _TRAINING,
    ),
    "flops": Keys((*_ARCHITECTURE, "space", "data", "train", "kernels"), ("precision", *_TRAINING)),
}  # fmt: skip
_MACRO = tuple(f"space.{field.name}" for field in fields(MacroSpace))
_OF_KIND = {
    "data.num_train": "synthetic", "data.num_val": "synthetic", "data.synthetic_size": "synthetic",
    "data.seed": "synthetic",
    "data.head_file": "mpii", "data.joints": "coco", "data.flip_pairs": "coco", "data.sigmas": "coco",
    "data.skeleton": "coco", "data.category": "coco", "data.detections": "coco", "data.box_source": "coco",
    "data.score_threshold": "coco", "data.rescale": "coco",
}  # fmt: skip


def given_keys(overrides: Sequence[str]) -> list[str]:
    """The keys that a command line gives, without those given as null; "data" for a choice like data=coco."""
    pairs = [item.lstrip("+~").partition("=") for item in overrides]
    return [key for key, _, value in pairs if value not in ("null", "''", '""')]


def check_used(command: str, overrides: Sequence[str], config: Config) -> None:
    """Refuse keys of the command line that the command does not use.

    Raises:
        UserError: names the first of them, the commands that use it, and what to do instead.
    """
    if command not in USED:
        return
    for key in given_keys(overrides):
        if key not in USED[command]:
            others = [name for name, keys in USED.items() if key in keys]
            raise UserError(f"{command} does not use {key}{_instead(command, key, others)}")
        why = _why_unused(command, key, config)
        if why:
            raise UserError(f"{key} would not be used: {why}")


def _below(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}/", f"{name}@")) for name in names)


def _instead(command: str, key: str, others: Sequence[str]) -> str:
    if key == "checkpoint" and command == "search":
        return ": resume=auto with the same hydra.run.dir continues a search, derive checkpoint=PATH derives from one"
    if key == "architecture" and command == "evaluate":
        return ": the checkpoint holds its architecture"
    if not others:
        return f": no command has a use for it here; leave {key} out"
    names = " and ".join(filter(None, [", ".join(others[:-1]), others[-1]]))
    return f", {names} {'do' if len(others) > 1 else 'does'}: leave it out"


def _why_unused(command: str, key: str, config: Config) -> str | None:
    """Why a key is of no use beside the others given, None where it is used."""
    brought = config.architecture or (command in ("train", "latency") and config.checkpoint)
    if command in ("train", "flops", "latency") and key in _MACRO and brought and config.architecture not in BUILTIN:
        return "the architecture brings its own space"
    if key in ("architecture_seed", "architecture_gmacs") and config.architecture != "random":
        return "it belongs to architecture=random"
    if key == "train.width" and config.train.gmacs and command in ("train", "flops", "latency"):
        return "train.gmacs chooses the width"
    of_making = key in ("precision", *_DETECTED) or (key.startswith("evaluate.") and key not in _OF_RESULTS)
    if command == "evaluate" and config.results and of_making:
        return "results are scored as they stand"
    kind = _OF_KIND.get(key)
    reads_data = command not in ("predict", "derive", "evaluate", "correlate", "pareto") or bool(config.results)
    if reads_data and kind and not (kind == config.data.kind or (kind == "coco" and config.data.kind == "synthetic")):
        return f"it belongs to data sets of the kind {kind!r}, and data.kind is {config.data.kind!r}"
    return None


_OF_RESULTS = ("evaluate.pck_alpha", "evaluate.pixel_error")
