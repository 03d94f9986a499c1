"""Cross-scale resample-and-sum: N images, C channels, H x W pixels, B sources."""

from collections.abc import Sequence

import torch
from torch import Tensor

from . import reference
from ._aten.resample_sum import resample_sum as _aten_resample_sum
from .checks import check_finite_weights, check_states, check_table
from .dispatch import check_first_order, effective_dtype, memory_format, register, resolve, traced

MAX_SOURCES = 8


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
        RuntimeError: in the backward pass with ``create_graph=True``, where the Triton kernels run.
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
    inputs = [source.to(dtype) for source in inputs]
    if chosen == "aten":
        return _aten_resample_sum(inputs, weights, size)
    total = None
    for start in range(0, len(inputs), MAX_SOURCES):
        part = slice(start, start + MAX_SOURCES)
        mine = None if weights is None else weights[part]
        if traced():
            out = torch.ops.autopose.resample_sum(inputs[part], mine, size)
        else:
            out = _EagerSum.apply(size, mine, *inputs[part])
        total = out if total is None else total + out
    return total


def _forward(inputs: list[Tensor], weights: Tensor | None, size: list[int]) -> Tensor:
    from ._triton import resample_sum as kernel

    return kernel.forward(_alike(inputs, inputs[0]), _dense(weights), tuple(size))


def _fake_forward(inputs, weights, size):
    n, c = inputs[0].shape[:2]
    like = inputs[0].new_empty(n, c, *size)
    return torch.empty_like(like, memory_format=memory_format(inputs[0]))


def _backward(grad: Tensor, inputs: list[Tensor], weights: Tensor | None, need_weights: bool) -> list[Tensor]:
    from ._triton import resample_sum as kernel

    alike = _alike(inputs, inputs[0])
    grad = grad.contiguous(memory_format=memory_format(inputs[0]))
    gradients, weights_gradient = kernel.backward(grad, alike, _dense(weights), need_weights)
    return [*gradients, weights_gradient.to(weights.dtype)] if need_weights else gradients


def _fake_backward(grad, inputs, weights, need_weights):
    gradients = [torch.empty_like(x, memory_format=memory_format(inputs[0])) for x in inputs]
    return [*gradients, torch.empty_like(weights)] if need_weights else gradients


def _setup_context(ctx, inputs, output) -> None:
    sources, weights, _ = inputs
    ctx.count = len(sources)
    ctx.save_for_backward(*sources, *(() if weights is None else (weights,)))


def _differentiate(ctx, grad):
    check_first_order("resample_sum")
    # Read once: recomputed activations can be unpacked only once.
    saved = ctx.saved_tensors
    sources, weights = list(saved[: ctx.count]), saved[ctx.count :]
    need_weights = bool(weights) and ctx.needs_input_grad[1]
    found = torch.ops.autopose.resample_sum_backward(grad, sources, weights[0] if weights else None, need_weights)
    return found[: ctx.count], found[-1] if need_weights else None, None


# At most `MAX_SOURCES` sources, summed by one launch; the backward's gradients are the sources' and, if needed, the
# weights'.
register(
    "resample_sum",
    "(Tensor[] inputs, Tensor? weights, int[] size) -> Tensor",
    _forward,
    _fake_forward,
    _differentiate,
    _setup_context,
)
register(
    "resample_sum_backward",
    "(Tensor grad, Tensor[] inputs, Tensor? weights, bool need_weights) -> Tensor[]",
    _backward,
    _fake_backward,
)


class _EagerSum(torch.autograd.Function):
    """The operator as it is registered, without what the registration's own function takes for lists in Python."""

    @staticmethod
    def forward(ctx, size, weights, *sources):
        output = torch.ops.autopose.resample_sum(sources, weights, size)
        _setup_context(ctx, (sources, weights, size), output)
        return output

    @staticmethod
    def backward(ctx, grad):
        sources, weights, _ = _differentiate(ctx, grad)
        return None, weights, *sources


def _alike(tensors: Sequence[Tensor], like: Tensor) -> list[Tensor]:
    return [t.contiguous(memory_format=memory_format(like)) for t in tensors]


def _dense(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.contiguous()


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
