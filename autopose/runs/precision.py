"""The number format in which networks compute: float32, or bfloat16 where the device multiplies it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from autopose.config.schema import PRECISIONS
from autopose.errors import UserError
from autopose.kernels.dispatch import bf16_instructions

# Of CUDA devices, from which on tensor cores multiply bfloat16.
CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Precision:
    """What ``precision=`` came to on a device.

    Parameters, optimizers and statistics are float32 under either: bf16 is autocast of forward passes.

    Attributes:
        name: "fp32" or "bf16".
        reason: why, in words.
        explicit: it was asked for by name, not left to the device.
    """

    name: str = "fp32"
    reason: str = "as asked"
    explicit: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"

    @property
    def half(self) -> bool:
        """Whether forward passes run under bfloat16 autocast."""
        return self.name == "bf16"

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        return torch.bfloat16 if self.half else torch.float32

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """For a forward pass on a device; nothing in fp32."""
        return torch.autocast(device.type, torch.bfloat16) if self.half else nullcontext()

    def wrapped(self, function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
        """``function`` under ``autocast``; itself in fp32."""
        if not self.half:
            return function

        def run(*arguments: Any) -> Any:
            with self.autocast(device):
                return function(*arguments)

        return run


FP32 = Precision()


def chosen_precision(asked: str, kind: str) -> Precision:
    """What ``precision=`` means on a kind of device, "cpu", "cuda" or "mps".

    Raises:
        UserError: no such precision, or bf16 on a device that cannot compute in it.
    """
    if asked not in PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(PRECISIONS)}, but is {asked!r}")
    fast, found = _multiplies_bf16(kind)
    if asked == "auto":
        return Precision("bf16" if fast else "fp32", f"auto: {found}", False)
    if asked == "bf16" and not fast:
        if not _computes_bf16(kind):
            raise UserError(f"precision=bf16 was asked for, but {found}: set precision=fp32 or precision=auto")
        return Precision("bf16", f"as asked, though {found}: it is slower than fp32 here")
    return Precision(asked)


def _multiplies_bf16(kind: str) -> tuple[bool, str]:
    """Whether the device multiplies bfloat16 in hardware, and what was found, in words."""
    if kind == "cuda":
        capability = torch.cuda.get_device_capability()
        name = f"{torch.cuda.get_device_name()} (compute capability {capability[0]}.{capability[1]})"
        if capability >= CAPABILITY and torch.cuda.is_bf16_supported():
            return True, f"{name} has tensor cores for bf16"
        return False, f"{name} has none for bf16"
    if kind == "cpu":
        if found := bf16_instructions():
            return True, f"the processor has instructions for products of bf16 ({found})"
        return False, "the processor has no instructions for products of bf16"
    return False, f"PyTorch does not say whether {kind} has instructions for products of bf16"


def _computes_bf16(kind: str) -> bool:
    """Whether bfloat16 is there at all; processors compute it correctly in any case."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" or torch.backends.mps.is_macos_or_newer(14, 0)
