"""What an exported file computes, and what it says of itself. N crops, K joints, h and w the heatmaps' sides."""

import torch
from torch import Tensor, nn

from autopose import __version__
from autopose.config import Config
from autopose.data.affine import PADDING, PIXEL_STD
from autopose.data.dataset import IMAGENET_MEAN, IMAGENET_STD
from autopose.data.heatmap_tensors import TENSOR_DECODERS, decode_tensors
from autopose.data.schema import KeypointSchema
from autopose.errors import UserError
from autopose.models.inference import InferenceNetwork

INPUT, HEATMAPS, DECODED = "images", "heatmaps", ("joints", "scores")


class ExportedPose(nn.Module):
    """A network, and if asked for the decoding of its heatmaps.

    Args:
        network: heatmaps (N, K, h, w) of images (N, 3, H, W).
        size_wh: width and height of the input in px.
        decoding: "quarter" or "argmax", see ``data.heatmap.decode``; None: heatmaps alone.
        udp: corners of input and heatmap meet at corner pixels, as ``data.udp`` in training.
    """

    def __init__(self, network: InferenceNetwork, size_wh: tuple[int, int], decoding: str | None, udp: bool):
        super().__init__()
        network.space.macro.check_image_size(size_wh)
        if decoding not in (None, *TENSOR_DECODERS):
            raise UserError(
                f"decoding {decoding!r} cannot be put into the file, which knows {' and '.join(TENSOR_DECODERS)}: set "
                "evaluate.decoding=quarter, or export.decode=false and decode the heatmaps yourself"
            )
        self.network, self.decoding = network, decoding
        width, height = size_wh
        grid = (width // 4, height // 4)
        stride = [(s - 1) / (g - 1) if udp else s / g for s, g in zip(size_wh, grid, strict=True)]
        self.register_buffer("stride", torch.tensor(stride, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Heatmaps (N, K, h, w); with decoding also joints (N, K, 2) in px of the input and scores (N, K)."""
        heatmaps = self.network(images)
        if self.decoding is None:
            return heatmaps
        cells, scores = decode_tensors(heatmaps, self.decoding)
        return heatmaps, cells * self.stride, scores


def sample(size_wh: tuple[int, int], count: int, seed: int = 0) -> Tensor:
    """Normalised noise (count, 3, H, W)."""
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, size_wh[1], size_wh[0], generator=draws)


def describe(schema: KeypointSchema, config: Config, decoding: str | None) -> dict:
    """What a user of the file must know, as it is embedded: joints, input, normalisation, crop, outputs."""
    data = config.data
    return {
        "software": f"autopose {__version__}",
        "joints": list(schema.joints),
        "flip_pairs": [list(pair) for pair in schema.flip_pairs],
        "skeleton": [list(bone) for bone in schema.skeleton],
        "sigmas": list(schema.sigmas),
        "input": {
            "name": INPUT,
            "size": list(data.image_size),
            "layout": "N, 3, height, width; float32; RGB",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "scale": 1 / 255,
        },
        "crop": {"padding": PADDING, "aspect": data.image_size[0] / data.image_size[1], "unit": PIXEL_STD},
        "udp": data.udp,
        "stride": 4,
        "outputs": {HEATMAPS: "N, K, height / 4, width / 4"}
        | ({DECODED[0]: "N, K, 2: x, y in px of the input", DECODED[1]: "N, K"} if decoding else {}),
        "decoding": decoding or "none",
    }
