"""Checks of the operators' arguments, made before anything is allocated."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .dispatch import traced
from .topology import CONV_SIZES


def check_states(name: str, inputs: Sequence[Tensor], same_size: bool = True) -> None:
    """Refuse an input list that is empty, or whose tensors differ in rank, device, dtype, batch or channels."""
    if not inputs:
        raise ValueError(f"{name} needs at least one input, got none")
    first = inputs[0]
    for index, x in enumerate(inputs):
        if x.dim() != 4:
            raise ValueError(f"{name} needs inputs (N, C, H, W), input {index} has shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"{name} needs floating-point inputs, input {index} is {_name(x.dtype)}")
        if x.numel() == 0:
            raise ValueError(f"{name} needs inputs that are not empty, input {index} has shape {tuple(x.shape)}")
        check_like(name, f"input {index}", x, first)
        wanted = first.shape if same_size else first.shape[:2]
        if x.shape[: len(wanted)] != wanted:
            raise ValueError(
                f"{name} needs inputs of one batch{', channel count and size' if same_size else ' and channel count'}: "
                f"input 0 has shape {tuple(first.shape)}, input {index} {tuple(x.shape)}"
            )


def check_like(name: str, what: str, x: Tensor, reference: Tensor, dtype: bool = True) -> None:
    """Refuse a tensor on another device than ``reference``, or (``dtype``) of another dtype."""
    if x.device != reference.device:
        raise ValueError(f"{name} needs one device: input 0 is on {reference.device}, {what} is on {x.device}")
    if dtype and x.dtype != reference.dtype:
        raise ValueError(
            f"{name} needs {what} of dtype {_name(reference.dtype)} (that of input 0), got {_name(x.dtype)}: "
            "cast it, or run under torch.autocast"
        )


def check_convolutions(name: str, convs: Sequence[Tensor | None], counts: Sequence[int], x: Tensor) -> None:
    """Refuse convolution weights that are not (edges, C, C, k, k) with ``counts`` edges, like input x."""
    channels, autocast = x.shape[1], torch.is_autocast_enabled(x.device.type)
    for weight, count, k in zip(convs, counts, CONV_SIZES, strict=True):
        if weight is None and count == 0:
            continue
        wanted = (count, channels, channels, k, k)
        if weight is None or tuple(weight.shape) != wanted:
            got = "None" if weight is None else tuple(weight.shape)
            raise ValueError(f"{name} needs conv{k} of shape (edges, C, C, {k}, {k}) = {wanted}, got {got}")
        check_like(name, f"conv{k}", weight, x, dtype=not autocast)


def check_table(name: str, what: str, table: Tensor | None, shape: tuple[int, ...], x: Tensor) -> None:
    """Refuse a per-edge table of another shape or device; float32 is taken beside half-precision inputs."""
    if table is None:
        return
    if tuple(table.shape) != shape:
        raise ValueError(f"{name} needs {what} of shape {shape}, got {tuple(table.shape)}")
    half_or_autocast = x.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled(x.device.type)
    check_like(name, what, table, x, dtype=not (table.dtype == torch.float32 and half_or_autocast))


def check_norm(name: str, shape: tuple[int, ...], norm: Sequence, training: bool, grouped: bool, x: Tensor) -> None:
    """Refuse normalisation tables (weight, bias, running mean, running var) that do not fit or are incomplete."""
    labels = ("norm_weight", "norm_bias", "running_mean", "running_var")
    for what, table in zip(labels, norm, strict=True):
        check_table(name, what, table, shape, x)
    for first in (0, 2):
        if (norm[first] is None) != (norm[first + 1] is None):
            raise ValueError(f"{name} needs {labels[first]} and {labels[first + 1]} together, got only one of them")
    if not training and norm[2] is None:
        raise ValueError(f"{name} needs running_mean and running_var when training=False, got None")
    if training and not grouped and x.numel() == x.shape[1]:
        raise ValueError(f"{name} needs more than one value a channel for batch statistics, got input {tuple(x.shape)}")


def check_finite_weights(name: str, what: str, weights: Tensor) -> None:
    """Refuse NaN among mixing weights.

    On CUDA the answer would make the host wait for the device, so it is only asked for under
    ``torch.autograd.set_detect_anomaly(True)``; never while compiling, tracing or capturing a graph.
    """
    if traced():
        return
    if weights.device.type != "cpu":
        capturing = weights.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if capturing or not torch.is_anomaly_enabled():
            return
    nan = weights.detach().isnan()
    if nan.any():
        raise ValueError(f"{name} needs {what} without NaN, got NaN at {tuple(nan.nonzero()[0].tolist())}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
