"""People of frame after frame, in batches over several frames, with a bounded number of frames in memory."""

from collections.abc import Iterable, Iterator

import numpy as np

from autopose.runs.clock import Clock

from .box_files import Boxes
from .detector import Detector
from .frames import Frame
from .predictor import People, Predictor

# Frames held at most, by number and by bytes.
MOST_FRAMES, MOST_BYTES = 64, 256 << 20


def predicted(
    frames: Iterable[Frame], boxes: Boxes, detector: Detector | None, predictor: Predictor, clock: Clock
) -> Iterator[tuple[Frame, People]]:
    """Every frame with its people, in order; crops of several frames share the network's batches."""
    held: list[tuple[Frame, np.ndarray]] = []
    people = size = 0
    for frame in frames:
        if detector is None:
            rows = boxes.of(frame.name, frame.image)
        else:
            with clock.phase("detector"):
                rows = detector(frame.image)
        held.append((frame, rows))
        people, size = people + len(rows), size + frame.image.nbytes
        if people >= predictor.settings.batch_size or len(held) >= MOST_FRAMES or size >= MOST_BYTES:
            yield from _flush(held, predictor, clock)
            held, people, size = [], 0, 0
    yield from _flush(held, predictor, clock)


def _flush(held: list[tuple[Frame, np.ndarray]], predictor: Predictor, clock: Clock) -> Iterator[tuple[Frame, People]]:
    if not held:
        return
    with clock.phase("poses"):
        found = predictor([frame.image for frame, _ in held], [rows for _, rows in held])
    yield from ((frame, people) for (frame, _), people in zip(held, found, strict=True))
