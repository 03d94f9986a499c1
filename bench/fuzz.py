"""Damaged and malicious input: ``python bench/fuzz.py --cases 10000``.

Seeded mutations, structured (a value of a JSON document or of a checkpoint is replaced, dropped, repeated or grown) and
byte-wise (flipped bits, overwritten, cut, repeated and inserted bytes), of annotation JSON, detection and result JSON,
names and sizes, ``architecture.json``, checkpoints and their configuration, MATLAB files and images, with EXIF too.
Every case must be used, or refused by a ``UserError`` of one line within seconds; anything else is a finding, and so is
a trace that executed code would leave.
"""

import argparse
import copy
import io
import json
import os
import pickle
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.io import savemat  # noqa: E402

from autopose.config import Config, from_checkpoint  # noqa: E402
from autopose.data.checks import check_images, read_image, read_json  # noqa: E402
from autopose.data.coco import load_coco  # noqa: E402
from autopose.data.dataset import PoseDataset  # noqa: E402
from autopose.data.mpii import load_mpii, read_head_sizes  # noqa: E402
from autopose.data.pictures import fit_pictures  # noqa: E402
from autopose.data.records import DataSource  # noqa: E402
from autopose.errors import UserError  # noqa: E402
from autopose.evaluation.result_files import read_mpii_predictions  # noqa: E402
from autopose.evaluation.scoring import score_keypoint_results  # noqa: E402
from autopose.models import PoseNetwork  # noqa: E402
from autopose.runs.checkpoint import FORMAT, VERSION, fitting, read_checkpoint  # noqa: E402
from autopose.runs.machine import machine  # noqa: E402
from autopose.space import Architecture, MacroSpace, builtin_architecture  # noqa: E402
from bench import small_runs  # noqa: E402

RESULT_FILE = Path(__file__).parent / "results" / "fuzz.json"
LIMIT_S = 30
SPACE = MacroSpace(channels=(2, 4), num_stages=1, modules_per_stage=1, nodes_individual=1, nodes_aggregation=1,
                   stem_channels=2)  # fmt: skip
ODD = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -1e308, 1e308, float("nan"), float("inf"), "", "0", "\0",
    "../..", "é\ud800", [], {}, [[]], [None], {"": None}, [[[[1]]]], "x" * 10000, list(range(1000)),
)  # fmt: skip


class Hang(BaseException):
    """A case took longer than its limit."""


class Attack:
    """Unpickled without care, it makes the folder ``trace``."""

    def __init__(self, trace: str):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)

    def __deepcopy__(self, memo: dict) -> "Attack":
        # copy would run the attack itself.
        return self


@dataclass
class Target:
    """A kind of input: ``seed`` bytes that work, ``use`` of a file, and ``edit`` for a structured mutation."""

    name: str
    seed: bytes
    use: Callable[[Path], object]
    edit: Callable[[random.Random], bytes] | None


def places(node, path=()) -> list[tuple]:
    """Paths of every value below a JSON-like node."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    found = []
    for key, value in children:
        found += [(*path, key), *places(value, (*path, key))]
    return found


def edited(document, rng: random.Random, odd: tuple = ODD):
    """A copy with one to three values replaced, removed, repeated or swapped."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = places(document)
        if not paths:
            return rng.choice(odd)
        *above, key = rng.choice(paths)
        node = document
        for step in above:
            node = node[step]
        if not isinstance(node, dict | list):
            continue
        kind = rng.randrange(5)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        elif kind == 2 and isinstance(node[key], int | float):
            node[key] = node[key] * rng.choice((-1, 0, 1e9, 0.5)) + rng.choice((0, 1, 1e-9))
        elif kind == 3:
            *_, other = rng.choice(paths)
            if isinstance(node, dict) and isinstance(other, str):
                node[other] = node.pop(key)
        else:
            node[key] = copy.deepcopy(rng.choice(odd))
    return document


def battered(data: bytes, rng: random.Random) -> bytes:
    """Bytes after one to eight byte-wise mutations."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        place, kind, length = rng.randrange(len(found) + 1), rng.randrange(6), rng.choice((1, 2, 8, 64, 4096))
        if kind == 0 and place < len(found):
            found[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[place : place + length] = rng.randbytes(min(length, max(len(found) - place, 0)))
        elif kind == 2:
            del found[place : place + length]
        elif kind == 3:
            found[place:place] = found[place : place + length]
        elif kind == 4:
            found[place:place] = rng.choice((b"\xff", b"\0" * 8, b"NaN", b"1e999", b'{"', b"]]", b"\xf0\x9f\x98\x80"))
        else:
            del found[place:]
    return bytes(found)


def json_target(name: str, document, use: Callable[[Path], object]) -> Target:
    def edit(rng: random.Random) -> bytes:
        found = edited(document, rng)
        if rng.random() < 0.02:
            return b"[" * 100_000 + b"]" * 100_000
        return json.dumps(found).encode("utf-8", "surrogatepass")

    return Target(name, json.dumps(document).encode(), use, edit)


def targets(root: Path, data: Path) -> list[Target]:
    """Everything that reads a file from outside."""
    truth = json.loads((data / "annotations" / "person_keypoints_val.json").read_text())
    people = truth["annotations"]
    results = [{"image_id": p["image_id"], "category_id": 1, "keypoints": p["keypoints"], "score": 0.5} for p in people]
    boxes = [{"image_id": p["image_id"], "category_id": 1, "bbox": p["bbox"], "score": 0.9} for p in people]

    def annotations(path: Path):
        source = DataSource(root=data, split="val", annotation_file=str(path))
        found = load_coco(source, 0.75)
        if found.persons:
            PoseDataset(found, (32, 32))[(0, 1)]

    def detections(path: Path):
        load_coco(DataSource(root=data, split="val", detection_file=str(path)), 0.75)

    def mpii(path: Path):
        found = load_mpii(DataSource(root=data, split="val", annotation_file=str(path), image_folder=str(data / "val")))
        if found.persons:
            PoseDataset(found, (32, 32))[(0, 1)]

    def architecture(path: Path):
        found = Architecture.load(path)
        size = found.macro_space.num_modules * max(found.macro_space.channels) * found.macro_space.nodes_individual
        if size < 200:
            PoseNetwork(found.space(), 2)

    def picture(path: Path):
        try:
            check_images([path])
        finally:
            read_image(path)

    def sizes(path: Path):
        found = load_coco(DataSource(root=data, split="val", annotation_file=str(path)), 0.75)
        fit_pictures(found.images, [person.image_id for person in found.persons], "auto", True)

    def configuration(path: Path):
        from_checkpoint(read_json(path, "configuration"), Config(), [])

    def matrix(values: dict) -> bytes:
        buffer = io.BytesIO()
        savemat(buffer, values)
        return buffer.getvalue()

    rows = [
        {"image": f"{n:06d}.jpg", "center": [32.0, 32.0], "scale": 0.3, "joints": [[9.0 + j, 20.0] for j in range(16)],
         "joints_vis": [1] * 16} for n in range(3)
    ]  # fmt: skip
    image = cv2.imread(str(data / "val" / "000000.jpg"))
    encoded = {kind: cv2.imencode(kind, image)[1].tobytes() for kind in (".jpg", ".png", ".webp", ".bmp", ".tiff")}
    return [
        json_target("annotations", truth, annotations),
        json_target("results", results, lambda path: score_keypoint_results(truth, str(path))),
        json_target("detections", boxes, detections),
        json_target("MPII annotations", rows, mpii),
        json_target("architecture", builtin_architecture("random", SPACE, 3).to_json(), architecture),
        json_target("names and sizes", {**truth, "annotations": people[:2]}, sizes),
        json_target("configuration of a checkpoint", Config().to_dict(), configuration),
        Target("head boxes .mat", matrix({"headboxes_src": np.ones((2, 2, 3))}), lambda p: read_head_sizes(p, 3), None),
        Target(
            "predictions .mat", matrix({"preds": np.ones((3, 16, 2))}), lambda p: read_mpii_predictions(p, 3, 16), None
        ),
        Target("image with EXIF", with_exif(encoded[".jpg"], 6), picture, None),
        checkpoint_target(root),
        *(Target(f"image {kind}", content, picture, None) for kind, content in encoded.items()),
    ]


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF orientation."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def checkpoint_target(root: Path) -> Target:
    """A checkpoint of a training, used as far as its weights in the network that it describes."""
    architecture = builtin_architecture("random", SPACE, 3)
    network = PoseNetwork(architecture.space(), 2)
    optimizer = torch.optim.Adam(network.parameters())
    content = {
        "format": FORMAT, "version": VERSION, "kind": "train", "config": {"seed": 0, "train": {"width": 1}},
        "world_size": 1, "step": 3, "architecture": architecture.to_json(),
        "state": {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "position": [0, 3]},
    }  # fmt: skip
    trace = str(root / "trace")

    def pack(value: object) -> bytes:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer.getvalue()

    def edit(rng: random.Random) -> bytes:
        odd = (*ODD, Attack(trace), torch.zeros(3), torch.zeros(0, dtype=torch.int64), print, os.system, torch.Tensor)
        found = edited(content, rng, odd)
        return pickle.dumps(found) if rng.random() < 0.05 else pack(found)

    def use(path: Path):
        found = read_checkpoint(path, "train")
        with fitting(f"the checkpoint {path}"):
            described = Architecture.from_json(found["architecture"])
            if described.macro_space != SPACE:
                return
            fresh = PoseNetwork(described.space(), 2)
            fresh.load_state_dict(found["state"]["network"])
            torch.optim.Adam(fresh.parameters()).load_state_dict(found["state"]["optimizer"])

    return Target("checkpoint", pack(content), use, edit)


def run_case(target: Target, data: bytes, path: Path) -> tuple[str, str]:
    """("used" or "refused", sentence), or ("finding", what happened)."""
    path.write_bytes(data)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        target.use(path)
    except UserError as error:
        text = str(error)
        return ("finding", f"not one line: {text!r:.300}") if "\n" in text or not text else ("refused", text)
    except Hang:
        return "finding", f"took longer than {LIMIT_S} s"
    except BaseException as error:  # noqa: BLE001 - whatever else comes is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "autopose" in f.filename] or [where]
        return (
            "finding",
            f"{type(error).__name__}: {str(error)[:150]} at {Path(ours[-1].filename).name}:{ours[-1].lineno}",
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "used", ""


def fuzz(cases: int, seed: int, root: Path, keep: Path | None = None) -> dict:
    """Run ``cases`` cases in turn over the targets; inputs behind findings are kept in ``keep``."""

    def hang(signum, frame):
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    warnings.simplefilter("ignore")
    data = small_runs.draw_set(root / "data")
    every, counts, findings = targets(root, data), {}, []
    for target in every:
        kind, what = run_case(target, target.seed, root / "intact")
        if kind != "used":
            raise RuntimeError(f"the intact {target.name} is not usable: {what}")
    started, slowest = time.monotonic(), 0.0
    for case in range(cases):
        target, rng = every[case % len(every)], random.Random(f"{seed} {case}")
        structured = target.edit is not None and rng.random() < 0.6
        mutated = target.edit(rng) if structured else battered(target.seed, rng)
        began = time.monotonic()
        kind, what = run_case(target, mutated, root / "case")
        slowest = max(slowest, time.monotonic() - began)
        if (root / "trace").exists():
            kind, what = "finding", "code was executed"
            (root / "trace").rmdir()
        counts.setdefault(target.name, Counter())[kind] += 1
        if kind == "finding":
            findings.append({"case": case, "target": target.name, "what": what})
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{case}_{target.name.replace(' ', '_')}").write_bytes(mutated)
    signal.signal(signal.SIGALRM, before)
    return {
        "cases": cases, "seed": seed, "findings": findings,
        "by_target": {name: dict(sorted(counter.items())) for name, counter in counts.items()},
        "seconds": round(time.monotonic() - started, 1), "slowest_case_s": round(slowest, 2),
        "opencv": cv2.__version__, "numpy": np.__version__, **machine(),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULT_FILE)
    parser.add_argument("--keep", type=Path, help="folder for the inputs behind findings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        result = fuzz(arguments.cases, arguments.seed, Path(root), arguments.keep)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return int(bool(result["findings"]))


if __name__ == "__main__":
    sys.exit(main())
