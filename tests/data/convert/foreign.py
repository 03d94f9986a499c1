"""Sets as other tools write them, from one drawn truth; each writer returns the source to give to the conversion."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

JOINTS = ("nose", "left_ear", "right_ear", "tail", "middle")


@dataclass
class Animal:
    """joints (5, 2) px, visible (5,), box x, y, w, h."""

    joints: np.ndarray
    visible: np.ndarray
    box: tuple[float, float, float, float]


def draw_truth(seed: int = 0, count: int = 10, people: int = 1) -> dict[str, tuple[tuple[int, int], list[Animal]]]:
    """Pictures' names with their sizes and animals; joints with many decimals, some hidden, some not labelled."""
    rng = np.random.default_rng(seed)
    truth = {}
    for n in range(count):
        width, height = int(rng.integers(80, 200)), int(rng.integers(60, 150))
        animals = []
        for part in range(people):
            # Animals lie side by side, so that their boxes do not overlap.
            x, w = width * part / people + 1, width / people - 2
            box = (x, 2.125, w, height - 5.25)
            joints = rng.uniform((x + 1, 4), (x + w - 1, height - 5), (len(JOINTS), 2))
            visible = rng.choice([0, 1, 2], len(JOINTS), p=[0.2, 0.2, 0.6])
            visible[:2] = 2
            animals.append(Animal(np.where(visible[:, None] > 0, joints, 0), visible, box))
        truth[f"picture_{n}.png"] = ((width, height), animals)
    return truth


def write_pictures(folder: Path, truth: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n, (name, ((width, height), _)) in enumerate(truth.items()):
        picture = np.random.default_rng(n).integers(0, 255, (height, width, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / name), picture)


def _labelled(animal: Animal):
    return [(name, xy, int(v)) for name, xy, v in zip(JOINTS, animal.joints.tolist(), animal.visible, strict=True) if v]


def yolo(root: Path, truth: dict, values: int = 3) -> Path:
    for n, (name, ((width, height), animals)) in enumerate(truth.items()):
        split = "valid" if n < 3 else "train"
        write_pictures(root / split / "images", {name: truth[name]})
        rows = []
        for animal in animals:
            x, y, w, h = animal.box
            row = [0, (x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
            for (px, py), state in zip(animal.joints, animal.visible, strict=True):
                row += [px / width, py / height, state][:values]
            rows.append(" ".join(f"{v:.9g}" for v in row))
        (root / split / "labels").mkdir(exist_ok=True)
        (root / split / "labels" / name).with_suffix(".txt").write_text("\n".join(rows))
    config = {"train": "../train/images", "val": "../valid/images", "names": ["mouse"], "nc": 1}
    config |= {"kpt_shape": [len(JOINTS), values], "flip_idx": [0, 2, 1, 3, 4], "kpt_names": {0: list(JOINTS)}}
    (root / "data.yaml").write_text(yaml.safe_dump(config))
    return root


def deeplabcut(root: Path, truth: dict, individuals: bool = False, cells: int = 1, scorer: str = "Ann") -> Path:
    write_pictures(root / "labeled-data" / "video1", truth)
    names = [f"animal{n}" for n in range(max(len(animals) for _, animals in truth.values()))] if individuals else [""]
    columns = [(animal, joint, axis) for animal in names for joint in JOINTS for axis in "xy"]
    pad = [""] * (cells - 1)
    lines = [["scorer", *pad, *[scorer] * len(columns)]]
    lines += [["individuals", *pad, *[c[0] for c in columns]]] if individuals else []
    lines += [["bodyparts", *pad, *[c[1] for c in columns]], ["coords", *pad, *[c[2] for c in columns]]]
    for name, (_, animals) in truth.items():
        path = ["labeled-data", "video1", name]
        row = ["/".join(path)] if cells == 1 else path
        for n in range(len(names)):
            for xy, state in zip(animals[n].joints, animals[n].visible, strict=True):
                row = row + ([repr(float(v)) for v in xy] if state else ["", ""])
        lines.append(row)
    table = root / "labeled-data" / "video1" / f"CollectedData_{scorer}.csv"
    table.write_text("\n".join(",".join(line) for line in lines))
    config = {"Task": "mouse", "scorer": "Ann", "bodyparts": list(JOINTS), "skeleton": [["nose", "tail"]]}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    return root


def lightning_pose(root: Path, truth: dict) -> Path:
    write_pictures(root / "labeled-data", truth)
    columns = [(joint, axis) for joint in JOINTS for axis in "xy"]
    lines = [["scorer"] + ["me"] * 10, ["bodyparts"] + [c[0] for c in columns], ["coords"] + [c[1] for c in columns]]
    for name, (_, (animal,)) in truth.items():
        cells = [repr(float(v)) if s else "" for xy, s in zip(animal.joints, animal.visible, strict=True) for v in xy]
        lines.append([f"labeled-data/{name}", *cells])
    (root / "CollectedData.csv").write_text("\n".join(",".join(line) for line in lines))
    return root / "CollectedData.csv"


def cvat(root: Path, truth: dict) -> Path:
    write_pictures(root / "images", truth)
    sub = "".join(f"<label><name>{joint}</name></label>" for joint in JOINTS)
    svg = (
        '&lt;circle data-node-id="1" data-label-name="nose"/&gt;&lt;circle data-node-id="4" data-label-name="tail"/&gt;'
    )
    svg += '&lt;line data-node-from="1" data-node-to="4"/&gt;'
    label = f"<label><name>mouse</name><type>skeleton</type><svg>{svg}</svg><sublabels>{sub}</sublabels></label>"
    text = f"<annotations><version>1.1</version><meta><job><labels>{label}</labels></job></meta>"
    for n, (name, ((width, height), animals)) in enumerate(truth.items()):
        text += f'<image id="{n}" name="{name}" width="{width}" height="{height}">'
        for group, animal in enumerate(animals, start=1):
            x, y, w, h = animal.box
            text += f'<box label="mouse" xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}" group_id="{group}"></box>'
            text += f'<skeleton label="mouse" group_id="{group}">'
            for joint, (px, py), state in zip(JOINTS, animal.joints, animal.visible, strict=True):
                text += f'<points label="{joint}" outside="{int(state == 0)}" occluded="{int(state == 1)}" '
                text += f'points="{px:.6f},{py:.6f}"></points>'
            text += "</skeleton>"
        text += "</image>"
    (root / "annotations.xml").write_text(text + "</annotations>")
    return root / "annotations.xml"


def cvat_points(root: Path, truth: dict) -> Path:
    write_pictures(root / "images", truth)
    text = "<annotations><version>1.1</version>"
    for n, (name, ((width, height), animals)) in enumerate(truth.items()):
        text += f'<image id="{n}" name="{name}" width="{width}" height="{height}">'
        for animal in animals:
            x, y, w, h = animal.box
            text += f'<box label="mouse" xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}"/>'
            for joint, (px, py), state in _labelled(animal):
                text += f'<points label="{joint}" occluded="{int(state == 1)}" points="{px:.6f},{py:.6f}"/>'
        text += "</image>"
    (root / "annotations.xml").write_text(text + "</annotations>")
    return root


def label_studio(root: Path, truth: dict, repeats: float = 0.0) -> Path:
    write_pictures(root / "images", truth)
    rng = np.random.default_rng(5)

    def region(kind, size, value, **more):
        return {"type": kind, "original_width": size[0], "original_height": size[1], "value": value} | more

    def result(size, animals, shift):
        rows = []
        for number, animal in enumerate(animals):
            x, y, w, h = (100 * v / size[n % 2] for n, v in enumerate(animal.box))
            box = {"x": x, "y": y, "width": w, "height": h, "rectanglelabels": ["mouse"]}
            rows.append(region("rectanglelabels", size, box, id=f"box{number}"))
            for joint, xy, _ in _labelled(animal):
                px, py = (100 * (v + shift * rng.normal()) / side for v, side in zip(xy, size, strict=True))
                value = {"x": px, "y": py, "width": 0.3, "keypointlabels": [joint]}
                rows.append(region("keypointlabels", size, value, parentID=f"box{number}"))
        return rows

    tasks = []
    for n, (name, (size, animals)) in enumerate(truth.items()):
        annotations = [{"id": n, "result": result(size, animals, 0.0)}, {"id": -n, "was_cancelled": True, "result": []}]
        if repeats:
            annotations.append({"id": 100 + n, "result": result(size, animals, repeats)})
        tasks.append({"id": n, "annotations": annotations, "data": {"img": f"/data/upload/3/1234abcd-{name}"}})
    (root / "project.json").write_text(json.dumps(tasks))
    return root / "project.json"


def labelme(root: Path, truth: dict) -> Path:
    write_pictures(root, truth)
    for name, ((width, height), animals) in truth.items():
        shapes = []
        for group, animal in enumerate(animals):
            x, y, w, h = animal.box
            shapes.append(
                {"label": "mouse", "shape_type": "rectangle", "points": [[x + w, y], [x, y + h]], "group_id": group}
            )
            for joint, xy, state in _labelled(animal):
                flags = {"occluded": True} if state == 1 else {}
                shapes.append(
                    {"label": joint, "shape_type": "point", "points": [xy], "group_id": group, "flags": flags}
                )
        document = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
        document |= {"imageHeight": height, "imageWidth": width}
        (root / name).with_suffix(".json").write_text(json.dumps(document))
    return root


def plain_table(root: Path, truth: dict) -> Path:
    write_pictures(root / "images", truth)
    lines = [
        ["file"] + [f"{joint}_{axis}" for joint in JOINTS for axis in "xyv"] + ["bbox_x", "bbox_y", "bbox_w", "bbox_h"]
    ]
    for name, (_, animals) in truth.items():
        for animal in animals:
            row = [name]
            for xy, state in zip(animal.joints.tolist(), animal.visible, strict=True):
                row += [repr(v) for v in xy] + [str(state)] if state else ["", "", ""]
            lines.append(row + [repr(v) for v in animal.box])
    (root / "labels.csv").write_text("\n".join(";".join(line) for line in lines))
    return root / "labels.csv"


def read_back(folder: Path) -> dict[str, dict]:
    """By picture's last name: its split, size and people (joints, visible, bbox, area)."""
    found = {}
    for path in sorted((folder / "annotations").glob("*.json")):
        document = json.loads(path.read_text())
        rows = {image["id"]: image for image in document["images"]}
        for image in rows.values():
            assert (folder / "images" / image["file_name"]).is_file()
            size = image["width"], image["height"]
            found[Path(image["file_name"]).name] = {"split": path.stem.rpartition("_")[2], "size": size, "people": []}
        for row in document["annotations"]:
            keypoints = np.array(row["keypoints"], dtype=np.float64).reshape(-1, 3)
            person = (keypoints[:, :2], keypoints[:, 2].astype(int), row["bbox"], row["area"])
            found[Path(rows[row["image_id"]]["file_name"]).name]["people"].append(person)
    return found


def category_of(folder: Path) -> dict:
    return json.loads((folder / "annotations" / "person_keypoints_train.json").read_text())["categories"][0]
