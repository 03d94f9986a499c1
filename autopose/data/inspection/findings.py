"""What a look at a dataset finds, in words: counts, joints, pictures, boxes, duplicates.

Letters: N people, K joints.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autopose.data.picture_files import PictureFile
from autopose.data.records import PoseAnnotations

# A joint this share of the person's size outside of the box is not on that person's box.
_OUTSIDE = 0.25
# Annotators' slips; more than this share of the people is a mistake of the file.
_SLIPS = 0.2
_FEW = 200
_SHOWN = 3


@dataclass
class Findings:
    """Lines of (heading, sentence); ``wrong`` holds what must be repaired, ``notes`` what should be known."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, heading: str, sentence: str) -> None:
        """Note a sentence under a heading."""
        self.lines.append((heading, sentence))

    def text(self) -> str:
        """Everything, one line a fact."""
        rows = [*self.lines, *(("note", note) for note in self.notes), *(("WRONG", wrong) for wrong in self.wrong)]
        return "\n".join(f"{heading:<10} {sentence}" for heading, sentence in rows)


def _listed(rows: Sequence[str]) -> str:
    return "; ".join(rows[:_SHOWN]) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")


def count_split(name: str, split: PoseAnnotations, findings: Findings) -> None:
    """Pictures, people and labelled joints."""
    visible = np.array([person.visible for person in split.persons])
    empty = len(split.images) - len({person.image_id for person in split.persons})
    people = f"{len(split.persons)} people with {int((visible > 0).sum())} labelled joints"
    # Where nothing is marked 2 the mark means labelled, as in MPII's JSON.
    hidden = int((visible == 1).sum()) if (visible == 2).any() else 0
    findings.add(
        name,
        f"{len(split.images)} pictures, {people} ({hidden} hidden)"
        + (f"; on {empty} pictures nobody is labelled" if empty else ""),
    )
    findings.notes += [f"{name}: {remark}." for remark in split.remarks.values()]


def describe_joints(splits: Mapping[str, PoseAnnotations], findings: Findings) -> None:
    """Names, mirror pairs and sigmas as understood, and how often each joint is labelled."""
    schema = next(iter(splits.values())).schema
    for name, split in splits.items():
        if split.schema.joints != schema.joints:
            findings.wrong.append(f"The joints of {name} are others than those of {next(iter(splits))}.")
            return
    shares = {
        name: 100 * np.mean([person.visible > 0 for person in split.persons], axis=0) for name, split in splits.items()
    }
    first = next(iter(shares))
    rows = [f"{joint} {share:.0f} %" for joint, share in zip(schema.joints, shares[first], strict=True)]
    findings.add("joints", f"{schema.num_joints}, labelled in {first}: {', '.join(rows)}")
    for name, share in shares.items():
        never = [joint for joint, value in zip(schema.joints, share, strict=True) if value == 0]
        if never:
            findings.notes.append(
                f"Never labelled in {name}: {', '.join(never)}; nothing can be learnt or said of them."
            )
    pairs = [f"{schema.joints[a]} - {schema.joints[b]}" for a, b in schema.flip_pairs]
    findings.add("mirrored", ", ".join(pairs) or "no joint changes its name in a mirrored picture")
    if not pairs and schema.num_joints > 1:
        findings.notes.append(
            "No mirror pairs: if some joints are a left and a right one, name them (data.flip_pairs=[[left,right]]), "
            "or mirroring in training and the flip test will confuse them."
        )
    sigmas = [f"{joint} {sigma:g}" for joint, sigma in zip(schema.joints, schema.sigmas, strict=True)]
    findings.add("sigmas", ", ".join(sigmas))
    if len(set(schema.sigmas)) == 1 and schema.num_joints > 1:
        findings.notes.append(
            f"All sigmas are {schema.sigmas[0]:g}, which looks guessed: OKS and AP then say little in themselves; "
            "go by the error in pixels and PCK."
        )
    findings.add(
        "skeleton", f"{len(schema.skeleton)} bones" if schema.skeleton else "none: joints are drawn as dots only"
    )


def describe_pictures(
    splits: Mapping[str, PoseAnnotations], files: Mapping[str, PictureFile | str], findings: Findings
) -> None:
    """Sizes, EXIF turns, unreadable pictures, and sizes that contradict the annotation."""
    readable = {path: file for path, file in files.items() if isinstance(file, PictureFile)}
    sizes = Counter((file.width, file.height) for file in readable.values())
    common = ", ".join(f"{w}x{h} ({count})" for (w, h), count in sizes.most_common(_SHOWN))
    more = f" and {len(sizes) - _SHOWN} other sizes" if len(sizes) > _SHOWN else ""
    findings.add("pictures", f"{common}{more} px")
    bad = [sentence for sentence in files.values() if isinstance(sentence, str)]
    if bad:
        findings.wrong.append(f"Pictures that cannot be used: {len(bad)}; {_listed(bad)}.")
    turned = [path for path, file in readable.items() if file.orientation != 1]
    findings.add("EXIF", f"{len(turned)} pictures carry a turn" if turned else "no picture carries a turn")
    annotated = {image.path: (image.width, image.height) for s in splits.values() for image in s.images.values()}
    other = [
        f"'{path}' is {file.width}x{file.height}, annotated {annotated[path][0]}x{annotated[path][1]}"
        for path, file in readable.items()
        if annotated[path] not in ((None, None), (file.width, file.height), file.shown)
    ]
    if other:
        findings.wrong.append(f"Pictures of another size than annotated: {len(other)}, {_listed(other)}.")
    if turned:
        findings.notes.append(
            f"{len(turned)} pictures are turned by their EXIF tag when shown ('{turned[0]}'): they are read as the "
            "annotated width and height say, or as data.exif=turn or data.exif=ignore says."
        )


def describe_boxes(splits: Mapping[str, PoseAnnotations], files: Mapping, findings: Findings) -> None:
    """Whether boxes hold their people, and people their pictures."""
    boxes, whole, loose, off = [], 0, [], []
    for split in splits.values():
        for person in split.persons:
            file = files[person.image]
            if not isinstance(file, PictureFile):
                continue
            image = split.images[person.image_id]
            # Labels are in px of the annotated picture, which a turned file is not.
            size = (file.width, file.height) if image.width is None else (image.width, image.height)
            x, y, width, height = person.bbox
            boxes.append((width, height))
            whole += bool(width >= 0.98 * size[0] and height >= 0.98 * size[1])
            labelled = person.joints[person.visible > 0]
            if not len(labelled):
                continue
            slack = _OUTSIDE * max(width, height)
            low, high = np.array([x, y]) - slack, np.array([x + width, y + height]) + slack
            if ((labelled < low) | (labelled > high)).any():
                loose.append(f"annotation {person.annotation_id} ('{person.image}')")
            if ((labelled < -0.5) | (labelled > np.array(size) - 0.5)).any():
                off.append(f"annotation {person.annotation_id} ('{person.image}')")
    if not boxes:
        return
    median = np.median(boxes, axis=0)
    findings.add("boxes", f"median {median[0]:.0f}x{median[1]:.0f} px; {whole} of {len(boxes)} are the whole picture")
    if len(loose) > _SLIPS * len(boxes):
        findings.wrong.append(
            f"{len(loose)} of {len(boxes)} boxes do not hold their own joints: {_listed(loose)}; are x and "
            "y swapped, or boxes written as x, y, x, y instead of x, y, width, height?"
        )
    elif loose:
        findings.notes.append(f"Boxes that do not hold all their joints: {len(loose)}, {_listed(loose)}.")
    if off:
        findings.notes.append(f"People with joints outside of their picture: {len(off)}, {_listed(off)}.")


def find_duplicates(splits: Mapping[str, PoseAnnotations], files: Mapping, findings: Findings) -> None:
    """Pictures with equal bytes, between splits and within them."""
    places: dict[str, list[tuple[str, str]]] = {}
    for name, split in splits.items():
        for path in dict.fromkeys(image.path for image in split.images.values()):
            if isinstance(files.get(path), PictureFile):
                places.setdefault(files[path].digest, []).append((name, path))
    across = [own for own in places.values() if len({name for name, _ in own}) > 1]
    within = [own for own in places.values() if len(own) > len({name for name, _ in own})]
    if across:
        examples = ", ".join(" = ".join(f"{name} '{path}'" for name, path in own[:2]) for own in across[:_SHOWN])
        findings.wrong.append(
            f"Pictures in two splits: {len(across)} ({examples}). A network is then tested on what it has seen."
        )
    else:
        findings.add("duplicates", "no picture is in two splits")
    if within:
        findings.notes.append(f"{len(within)} pictures are more than once in their split ('{within[0][0][1]}').")


def judge_counts(splits: Mapping[str, PoseAnnotations], findings: Findings) -> None:
    """What the number of pictures allows."""
    counts = {name: len({person.image_id for person in split.persons}) for name, split in splits.items()}
    small = [f"{name} {count}" for name, count in counts.items() if count < _FEW]
    if small:
        findings.notes.append(
            f"Few pictures ({', '.join(small)}): expect a rough network, start from experiment=own, and do not read "
            "differences of a few percent into so small a validation split."
        )


def note_fixed_view(findings: Findings) -> None:
    """Why the commands that follow leave mirrored pictures out."""
    findings.notes.append(
        "Bodies are seen from one side alone: no pose looks like the mirror image of another. Training without "
        "mirrored pictures and with little rotation (data.augmentation=fixed_view evaluate.flip_test=false, as printed "
        "below) then learns in fewer steps; leave both out if the network is to work on bodies that face the other way."
    )
