"""Heatmaps in tensor operations, on any device and for exporters. N people, K joints, h and w the heatmap's sides."""

import torch
from torch import Tensor

# Of ``data.heatmap.DECODERS``; the others smooth every map, with OpenCV.
TENSOR_DECODERS = ("quarter", "argmax")


def decode_tensors(heatmaps: Tensor, method: str = "quarter") -> tuple[Tensor, Tensor]:
    """``data.heatmap.decode`` by one of TENSOR_DECODERS, to the bit: places (N, K, 2) in cells and scores (N, K)."""
    height, width = heatmaps.shape[2:]
    flat = heatmaps.flatten(2)
    best = flat.argmax(2, keepdim=True)
    scores = flat.gather(2, best)
    positive = (scores > 0).to(flat.dtype)
    row = torch.div(best, width, rounding_mode="floor")
    x, y = (best - row * width).to(flat.dtype) * positive, row.to(flat.dtype) * positive
    if method == "quarter":
        inside = ((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)).to(flat.dtype) * 0.25
        moves = []
        for step in (1, width):
            after, before = (flat.gather(2, (best + s).clamp(0, height * width - 1)) for s in (step, -step))
            moves.append(torch.sign(after - before) * inside)
        x, y = x + moves[0], y + moves[1]
    return torch.cat([x, y], 2), scores[..., 0]
