"""Poses on pictures and videos of your own: ``python -m autopose.predict checkpoint=PATH source=PATH``.

A source is a picture, video, folder, pattern or a camera's index; ``boxes=`` or ``detector=`` say where people are.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch

from autopose.command import main, overrides
from autopose.config import Config, from_checkpoint
from autopose.data.schema import schema_from_dict
from autopose.deploy.fastest import fastest
from autopose.engine.reports import report_prediction
from autopose.errors import Incomplete, UserError
from autopose.functions import callable_module
from autopose.prediction.box_files import Boxes
from autopose.prediction.detector import Detector
from autopose.prediction.frames import Frame, Source, open_source
from autopose.prediction.predictor import Predictor
from autopose.prediction.stream import predicted
from autopose.prediction.tracking import Tracker
from autopose.prediction.writing import Writer
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.clock import Clock
from autopose.runs.resolve import load_network
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")
RESULTS = Path("results") / "keypoints.json"


def run(config: Config, runtime: Runtime) -> list[dict]:
    """Write pictures, videos, COCO results and a table below the run's folder; returns the results."""
    source = config.source or config.images
    if not config.checkpoint or not source:
        raise UserError("predict needs checkpoint=PATH and source=PATH: a picture, video, folder, pattern or camera")
    if config.boxes is not None and config.detector:
        raise UserError("give either boxes= or detector=, which both say where people are")
    if runtime.world_size > 1:
        raise UserError("predict runs on one process: start it without torchrun")
    opened, boxes = open_source(str(source)), Boxes(config.boxes)
    detector = _detector(config)
    content = read_checkpoint(config.checkpoint, "train")
    asked, config = config, from_checkpoint(content["config"], config, overrides())
    network = load_network(content, config, runtime.device)
    schema = schema_from_dict(content["state"]["schema"])
    logger.info("joints     %s", ", ".join(schema.joints))
    people_from = boxes.description if detector is None else f"found by {config.detector}"
    logger.info("boxes      %s", people_from)
    if detector is not None:
        logger.info("detector   its outputs are taken for %s", detector.description)
    form = fastest(network, config.data.image_size, runtime.device, runtime.precision)
    logger.info("precision  %s; %s", form.precision, form.name)
    predictor, clock = Predictor(form.run, schema, config, runtime.device), Clock()
    settings, trackers = asked.predict, {}
    with Writer(runtime.folder, schema, settings.threshold, settings.draw, boxes.ids) as writer, torch.inference_mode():
        frames = clock.waiting(_first(opened, settings.most_frames), "reading")
        for frame, people in predicted(frames, boxes, detector, predictor, clock):
            tracks = None
            if settings.track and frame.number is not None:
                tracker = trackers.setdefault(frame.name, Tracker(schema.sigmas, frame.rate, settings.smooth))
                people, tracks = tracker(people)
            with clock.phase("drawing and writing"):
                writer.write(frame, people, tracks)
        if boxes.problems and not writer.people:
            raise UserError(f"{boxes.problems[0]} (and no other box can be used)")
    hidden = f"{writer.hidden} of {writer.joints} joints have scores below predict.threshold={settings.threshold:g}"
    _report(writer, clock, runtime, hidden)
    counted = {"people": str(writer.people), "pictures or frames": str(writer.pictures)}
    problems = [*opened.problems, *boxes.problems]
    facts = {"boxes": people_from} | ({"not drawn": hidden} if writer.hidden else {})
    facts |= ({"left out": _some(problems)} if problems else {}) | {"results": str(runtime.folder / RESULTS)}
    asked = replace(config, checkpoint=asked.checkpoint, name=asked.name)
    report_prediction(asked, runtime, clock.report(), overrides(), writer.files, counted, facts)
    for problem in problems:
        logger.warning("left out   %s", problem)
    if detector is not None and not writer.people:
        logger.warning(
            "caution    the detector found nobody: a lower predict.detector_threshold may help, or another class or "
            "input than the line `detector` tells"
        )
    unused = boxes.unused()
    if unused:
        logger.warning("caution    no picture is called as in the box file: %s", _some(unused))
    if problems:
        what = "1 input was" if len(problems) == 1 else f"{len(problems)} inputs were"
        raise Incomplete(f"{what} left out, everything else is done")
    return writer.results


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _detector(config: Config) -> Detector | None:
    if not config.detector:
        return None
    s = config.predict
    return Detector(config.detector, s.detector_threshold, s.detector_overlap, s.detector_class, s.detector_input)


def _first(source: Source, most: int) -> Iterator[Frame]:
    """The frames; UserError, before anything is written, where not even one can be read."""
    frames = source.frames(most)
    first = next(frames, None)
    if first is None:
        raise UserError(source.problems[0] if source.problems else "the source holds no picture")
    return chain([first], frames)


def _report(writer: Writer, clock: Clock, runtime: Runtime, hidden: str) -> None:
    found = clock.report()
    shares = sorted(found["phases"].items(), key=lambda item: -item[1])
    spent = ", ".join(f"{name} {100 * value / found['seconds']:.0f} %" for name, value in shares if value > 0)
    rate = writer.pictures / found["seconds"]
    logger.info(
        "speed      %d people in %d pictures, %.1f pictures/s (%s)", writer.people, writer.pictures, rate, spent
    )
    if writer.hidden:
        logger.info("hidden     %s and are not drawn", hidden)
    for name in ("pictures", "videos"):
        if (runtime.folder / name).is_dir():
            logger.info("%-10s %s", name, runtime.folder / name)
    logger.info("results    %s and .csv", runtime.folder / RESULTS)


callable_module(__name__)
if __name__ == "__main__":
    main("predict", run)
