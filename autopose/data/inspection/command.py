"""The text that ends a check: the configuration to use and the keys of the search to go on with."""

from collections.abc import Mapping
from pathlib import Path

import yaml

# Below this many people a network is trained as for a small set of one's own.
FEW_PEOPLE = 5000


def configuration(given: Mapping[str, object], image_size: tuple[int, int]) -> str:
    """YAML of the group ``data``: what was given (or found) and the recommended input size."""
    content = {key: value for key, value in given.items() if value is not None} | {"image_size": list(image_size)}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None).rstrip()


def search_arguments(given: Mapping[str, object], image_size: tuple[int, int], people: int) -> list[tuple[str, object]]:
    """Keys and values of a search on this set."""
    keys = {key: value for key, value in given.items() if value is not None and key != "kind"}
    keys["image_size"] = list(image_size)
    data = [(f"data.{key}", value) for key, value in keys.items()]
    if given["kind"] == "mpii":
        return [("experiment", "coco"), ("data", "mpii"), *data]
    if people >= FEW_PEOPLE:
        return [("experiment", "coco"), ("data", "keypoints"), *data]
    return [("experiment", "own"), *data, ("search.image_size", [side // 2 for side in image_size])]


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
