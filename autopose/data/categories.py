"""Which categories of a COCO-style file are the pose's: those with joint names, one or several with the same joints."""

from dataclasses import dataclass
from pathlib import Path

from autopose.data.checks import integer
from autopose.errors import UserError


@dataclass(frozen=True)
class PoseCategory:
    """The categories that are scored as one.

    Attributes:
        ids: of them all; results and detections of the first one's id, or of any of these, count.
        names: in the same order.
        entry: the first one as it stands in the file, for the schema.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    entry: dict


def pose_category(categories: list[dict], wanted: str | None, joints: tuple | None, path: str | Path) -> PoseCategory:
    """The pose category of a file.

    Args:
        categories: the file's list.
        wanted: name or id of one (``data.category``); None: the one with joints, all of those with the same joints, or
            among several kinds the one called "person".
        joints: configured names, which stand in for categories without.
        path: of the file, for messages.

    Raises:
        UserError: none or several remain.
    """
    posed = [c for c in categories if c.get("keypoints")] or (categories if joints else [])
    if wanted is not None:
        posed = [c for c in posed if wanted in (c.get("name"), str(c.get("id")))]
    if not posed:
        asked = f" that is called or numbered {wanted!r} (data.category)" if wanted is not None else ""
        raise UserError(
            f"'{path}' has no category with joint names ('keypoints'){asked} among its {len(categories)}: "
            f"{_listed(categories)}; give it an annotation of keypoints, or data.joints with the names"
        )
    if any(c.get("keypoints") != posed[0].get("keypoints") for c in posed):
        people = [c for c in posed if c.get("name") == "person"]
        if len(people) != 1:
            raise UserError(
                f"'{path}' has {len(posed)} categories with different joints: {_listed(posed)}; choose one with "
                f"data.category, as in data.category={posed[0].get('name')}"
            )
        posed = people
    ids = tuple(integer(c, "id", f"'{path}', category '{c.get('name')}'") for c in posed)
    return PoseCategory(ids, tuple(str(c.get("name", "person")) for c in posed), posed[0])


def _listed(categories: list[dict]) -> str:
    shown = [f"{c.get('id')!r:.20} {c.get('name')!r:.40} ({_count(c)} joints)" for c in categories[:6]]
    return ", ".join(shown) + (", ..." if len(categories) > 6 else "") or "none"


def _count(category: dict) -> int:
    joints = category.get("keypoints")
    return len(joints) if isinstance(joints, list) else 0
