"""The text that ends a check: the configuration to use and the keys of the search to go on with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

# Below this many people a network is trained as for a small set of one's own.
FEW_PEOPLE = 5000
# What the epochs of experiment=own are made for.
OWN_PEOPLE, OWN_EPOCHS = 100, 80
FIXED_VIEW = "fixed_view"


def configuration(given: Mapping[str, Any], recommended: Mapping[str, Any]) -> str:
    """YAML of the group ``data``: what was given (or found) and what is recommended."""
    content = {key: value for key, value in given.items() if value is not None} | dict(recommended)
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None).rstrip()


def search_arguments(given: Mapping[str, Any], recommended: Mapping[str, Any], people: int) -> list[tuple[str, Any]]:
    """Keys and values of a search on this set; those of the training go into the command that the search prints.

    Args:
        given: keys of the group ``data`` as they were given or found.
        recommended: keys of ``data`` that the look at the set recommends, ``image_size`` among them.
        people: of the training split.
    """
    keys = {key: value for key, value in given.items() if value is not None and key != "kind"} | dict(recommended)
    data = [(f"data.{key}", value) for key, value in keys.items()]
    mpii = given["kind"] == "mpii"
    if people >= FEW_PEOPLE:
        return [("experiment", "coco"), ("data", "mpii" if mpii else "keypoints"), *data]
    size = [("search.image_size", [side // 2 for side in recommended["image_size"]])]
    # A network that never saw a mirrored picture has nothing to say of one.
    flip = [("evaluate.flip_test", False)] if recommended.get("augmentation") == FIXED_VIEW else []
    return [("experiment", "own"), *[("data", "mpii")] * mpii, *data, *size, *flip, *_schedule(people)]


def _schedule(people: int) -> list[tuple[str, Any]]:
    """Epochs with which a training takes minutes and not hours, nothing where those of ``experiment=own`` do.

    A hundred people are seen 80 times; of more, each less often, by the square root.
    """
    seen = OWN_EPOCHS * OWN_PEOPLE * max(1.0, people / OWN_PEOPLE) ** 0.5
    epochs = max(5, round(seen / max(people, 1)))
    if 2 / 3 < epochs / OWN_EPOCHS < 3 / 2:
        return []
    milestones = [round(share * epochs) for share in (0.75, 0.94)]
    return [("train.epochs", epochs), ("train.milestones", milestones), ("train.evaluate_every", -(-epochs // 8))]


def located(root: Path) -> dict[str, str]:
    """Kind and split names as the folder's files suggest: {} where they do not."""
    if not (root / "annotations").is_dir() and any(root.glob("annot/*.json")):
        return {"kind": "mpii", "train_split": "train", "val_split": "valid"}
    found = {"kind": "coco"}
    for split in ("train", "val"):
        files = sorted(root.glob(f"annotations/person_keypoints_{split}*.json"))
        names = [file.stem.removeprefix("person_keypoints_") for file in files]
        if names and split not in names:
            found[f"{split}_split"] = names[0]
    return found
