"""Cross-scale resample-and-sum: N images, C channels, H x W pixels, B sources."""

from collections.abc import Sequence

from torch import Tensor

from . import reference
from .checks import check_finite_weights, check_states, check_table
from .dispatch import effective_dtype, resolve


def resample_sum(
    inputs: Sequence[Tensor], weights: Tensor | None, size: tuple[int, int], *, implementation: str = "auto"
) -> Tensor:
    """sum_b w_b * resample(H_b): nearest upsampling, identity, or downsampling by averaging, by powers of two (§3.1.2).

    Args:
        inputs: B tensors (N, C, H_b, W_b), float, contiguous or channels_last.
        weights: (B,), of the inputs' dtype or float32 beside half precision; None for ones.
        size: (H, W) of the result; every H_b / H = W_b / W must be a power of two (1/8, ..., 1, ..., 8).
        implementation: see `KernelChoice`.

    Returns:
        (N, C, H, W) in the memory format of the first input, differentiable once with respect to inputs and weights.

    Raises:
        ValueError: sizes that are no power of two apart, other shapes, dtypes or devices that do not fit, an empty
            batch, NaN in ``weights`` (on CUDA only in anomaly mode), an implementation that cannot run here.
    """
    name, size = "resample_sum", tuple(int(s) for s in size)
    check_states(name, inputs, same_size=False)
    x = inputs[0]
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"{name} needs a size (H, W) of positive integers, got {size}")
    for index, source in enumerate(inputs):
        check_scale(name, index, tuple(source.shape[2:]), size)
    check_table(name, "weights", weights, (len(inputs),), x)
    dtype = effective_dtype(x)
    chosen = resolve("resample_sum", implementation, x.device, dtype).implementation
    if weights is not None:
        check_finite_weights(name, "weights", weights)
    if chosen == "reference":
        return reference.resample_sum(inputs, weights, size)
    if chosen == "triton":
        from ._triton.resample_sum import resample_sum as fused
    else:
        from ._aten.resample_sum import resample_sum as fused
    return fused([t.to(dtype) for t in inputs], weights, size)


def check_scale(name: str, index: int, source: tuple[int, int], size: tuple[int, int]) -> None:
    """Refuse a source (H_b, W_b) that is not the same power of two times, or a fraction of, ``size`` both ways."""
    factors = []
    for have, want in zip(source, size, strict=True):
        large, small = max(have, want), min(have, want)
        if large % small:
            raise ValueError(f"{name} needs sizes that divide: input {index} is {source}, the result {size}")
        factors.append((large // small) * (1 if want >= have else -1))
    up_or_same = [1 if abs(f) == 1 else f for f in factors]
    if up_or_same[0] != up_or_same[1]:
        raise ValueError(f"{name} needs one scale for height and width: input {index} is {source}, the result {size}")
    factor = abs(factors[0])
    if factor & (factor - 1):
        raise ValueError(f"{name} needs scales that are powers of two: input {index} is {source}, the result {size}")
