"""Poses on images of your own: ``python -m autopose.predict checkpoint=PATH images=FOLDER [boxes=FILE.json]``."""

import logging

from autopose.command import main, overrides
from autopose.config import Config, from_checkpoint
from autopose.errors import UserError
from autopose.evaluation.evaluation import predict
from autopose.evaluation.user_images import read_pictures, rows_by_image
from autopose.files import save_json
from autopose.functions import callable_module
from autopose.report.poses import draw_poses
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.resolve import load_network
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> None:
    """Write ``results/poses.json`` and a picture with the poses for every image."""
    if not config.checkpoint or not config.images:
        raise UserError("predict needs checkpoint=PATH and images=PATH, an image or a folder of images")
    content = read_checkpoint(config.checkpoint, "train")
    config = from_checkpoint(content["config"], config, overrides())
    network = load_network(content, config, runtime.device)
    size = config.data.image_size
    pictures = read_pictures(config.images, config.boxes, content["state"]["schema"], size[0] / size[1])
    poses = predict(network, pictures, config.data, config.evaluate, runtime)
    if not runtime.is_main:
        return
    rows = rows_by_image(poses, pictures)
    save_json(runtime.folder / "results" / "poses.json", [row for row, *_ in rows])
    for row, image, joints, scores in rows:
        path = runtime.folder / "pictures" / f"{row['image_id']:06d}.png"
        path.parent.mkdir(exist_ok=True)
        draw_poses(image(), joints, scores, pictures.schema.skeleton, path)
    logger.info("poses      %s", runtime.folder / "results" / "poses.json")
    logger.info("pictures   %s", runtime.folder / "pictures")


callable_module(__name__)
if __name__ == "__main__":
    main("predict", run)
