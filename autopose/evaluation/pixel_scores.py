"""Errors in px of the original pictures as a score with its own table, for sets of one's own.

Letters: N people, K joints.
"""

from collections.abc import Mapping

import numpy as np

from autopose.data.records import PoseAnnotations
from autopose.evaluation.scoring import Score
from autopose.metrics.pixel_error import MEDIAN, P95, RMSE, pixel_error_table

# More joints than this do not fit a line; they are in metrics.json.
_COLUMNS = 20


def score_pixels(annotations: PoseAnnotations, poses: np.ndarray, how: Mapping[str, str]) -> Score:
    """Distances of one pose for each annotated person from its labels.

    Args:
        annotations: N annotated people with K joints.
        poses: (N, K, 2) px of the pictures; NaN counts as infinitely far.
        how: what is known of the poses' making, added to the protocol.
    """
    persons = annotations.persons
    joints, visible = np.stack([p.joints for p in persons]), np.stack([p.visible for p in persons])
    names = annotations.schema.joints
    metrics = pixel_error_table(poses, joints, visible, names)
    shown = [(name, f"{name} px") for name in names] if len(names) <= _COLUMNS else []
    return Score(
        metrics=metrics,
        counts={
            "images": len({p.image_id for p in persons}),
            "people": len(persons),
            "labelled joints": int((visible > 0).sum()),
        },
        protocol={
            "metric": "distance from the label in px of the original picture; joints by median",
            **how,
        },
        columns=((RMSE, RMSE), (MEDIAN, MEDIAN), (P95, P95), *shown),
    )
