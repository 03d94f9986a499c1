"""Which implementation every operator runs, and why."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import library

CHOICES = ("reference", "fused", "auto", "aten", "triton")
"""What may be asked for; ``aten`` and ``triton`` name one fused implementation, for debugging and measurement."""

OPERATORS = ("mixed_edge", "single_edge", "resample_sum")
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BF16_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512"}
"""Of processors, by PyTorch's name: products of bfloat16 tiles, and of vectors of pairs."""
HAS_TRITON = importlib.util.find_spec("triton") is not None


@dataclass(frozen=True)
class KernelChoice:
    """The implementation asked for, operator by operator: ``reference``, ``fused`` or ``auto``.

    ``fused`` is the best exact implementation for the device: Triton on CUDA, restructured ATen calls on the CPU;
    ``auto`` takes it wherever it exists. For debugging ``aten`` and ``triton`` force one of the two.
    Raises ValueError for any other name.
    """

    mixed_edge: str = "auto"
    single_edge: str = "auto"
    resample_sum: str = "auto"

    def __post_init__(self):
        for field in fields(self):
            check_choice(field.name, getattr(self, field.name))

    @classmethod
    def all(cls, implementation: str) -> "KernelChoice":
        """The same implementation for every operator."""
        return cls(*[implementation] * len(OPERATORS))


@dataclass(frozen=True)
class Resolution:
    """What runs (``reference``, ``aten`` or ``triton``) and the reason, for the log."""

    implementation: str
    reason: str


def constant(function: Callable) -> Callable:
    """``torch.compiler.assume_constant_result`` without importing the compiler: seconds of every start."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def check_choice(operator: str, requested: str) -> None:
    """Raise ValueError unless ``requested`` is a known implementation."""
    if requested not in CHOICES:
        raise ValueError(f"kernels.{operator} must be one of {', '.join(CHOICES)}; got {requested!r}")


@constant
def resolve(operator: str, requested: str, device: torch.device, dtype: torch.dtype) -> Resolution:
    """The implementation of ``operator`` for tensors of ``dtype`` on ``device``.

    Raises ValueError where the one asked for cannot run there, with what is missing and what to set.
    """
    check_choice(operator, requested)
    if operator not in OPERATORS:
        raise ValueError(f"unknown operator {operator!r}: expected one of {', '.join(OPERATORS)}")
    if requested == "reference":
        return Resolution("reference", "asked for")
    if requested == "aten":
        return Resolution("aten", "asked for")
    missing = _missing_for_triton(operator, device, dtype)
    if requested == "triton":
        if missing:
            raise ValueError(f"kernels.{operator}=triton cannot run on {device.type}: {missing}")
        return Resolution("triton", "asked for")
    if operator == "single_edge":
        return Resolution("aten", "one operation an edge: the library's convolutions, batched by kind and source")
    if device.type == "cpu":
        return Resolution("aten", "restructured ATen calls are the fastest exact implementation on a CPU")
    if not missing:
        return Resolution("triton", f"Triton kernels on {_device_name(device)}")
    if requested == "fused":
        raise ValueError(f"kernels.{operator}=fused cannot run on {device.type}: {missing}")
    return Resolution("aten", f"restructured ATen calls, because {missing}")


def describe(choice: KernelChoice, device: torch.device, dtype: torch.dtype) -> list[str]:
    """One line an operator for the log: what runs for ``dtype`` on ``device`` and why. Raises as `resolve`."""
    device = torch.device(device)
    lines = []
    for operator in OPERATORS:
        requested = getattr(choice, operator)
        found = resolve(operator, requested, device, dtype)
        lines.append(f"kernels.{operator}={requested}: {found.implementation} ({found.reason})")
    return lines


def effective_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype that an operator computes in: the input's, or autocast's where autocast is on."""
    kind = x.device.type
    if x.dtype != torch.float64 and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


@constant
def bf16_instructions() -> str:
    """The instructions by which the processor multiplies bfloat16, where the library knows how; "" for none.

    Asked of PyTorch: by its public table of capabilities where it has one, else by the probes that 2.6 brought.
    """
    if not torch.backends.mkldnn.is_available():
        return ""
    if hasattr(torch.cpu, "get_capabilities"):
        there = torch.cpu.get_capabilities()
    else:
        probes = {"amx_bf16": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
        there = {name: getattr(torch.cpu, probe, bool)() for name, probe in probes.items()}
    return next((text for name, text in BF16_INSTRUCTIONS.items() if there.get(name)), "")


def multiplies_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware and the library knows how."""
    return bool(bf16_instructions())


def library_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """The dtype in which restructured ATen calls compute for tensors of ``dtype``.

    A processor without instructions for their products widens values of half precision again and again: float32 is
    faster.
    """
    if device.type == "cpu" and dtype in (torch.float16, torch.bfloat16):
        return torch.bfloat16 if dtype == torch.bfloat16 and multiplies_bf16() else torch.float32
    return dtype


def traced() -> bool:
    """Whether a compiler or a tracer records what runs."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def check_first_order(operator: str) -> None:
    """Raise RuntimeError in a backward pass whose gradients are to be differentiated again."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"the fused {operator} is differentiable once: create_graph=True needs kernels.{operator}=reference"
        )


def register(name: str, schema: str, implementation: Callable, fake: Callable, differentiate=None, save=None) -> None:
    """Register the operator autopose::``name`` for CPU and CUDA tensors.

    ``fake`` makes empty results; ``differentiate`` and ``save`` are its backward function and what sets its context up.
    """
    library.define(f"autopose::{name}", schema)
    library.impl(f"autopose::{name}", ("cpu", "cuda"), implementation)
    library.register_fake(f"autopose::{name}", fake)
    if differentiate is not None:
        library.register_autograd(f"autopose::{name}", differentiate, setup_context=save)


def eager(name: str, save: Callable, differentiate: Callable) -> Callable:
    """A function that calls a registered operator without what the registration's own function takes in Python.

    ``save`` and ``differentiate`` are those that it was registered with. Where it is traced, the operator itself runs.
    """
    operator = getattr(torch.ops.autopose, name)

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *arguments):
            output = operator(*arguments)
            save(ctx, arguments, output)
            return output

        backward = staticmethod(differentiate)

    return lambda *arguments: (operator if traced() else Eager.apply)(*arguments)


def memory_format(x: torch.Tensor) -> torch.memory_format:
    """The memory format of x (N, C, H, W): channels_last, or contiguous where it has neither or both."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def interpreting() -> bool:
    """Whether Triton kernels run in the interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _missing_for_triton(operator: str, device: torch.device, dtype: torch.dtype) -> str:
    """What keeps the operator's Triton kernels from running there, and what to set; empty if nothing does."""
    instead = f"set kernels.{operator}=auto or reference"
    if operator == "single_edge":
        return f"it has no Triton kernels; {instead}"
    if not HAS_TRITON:
        return f"the package triton is not installed; install it or {instead}"
    if dtype not in TRITON_DTYPES:
        return f"its Triton kernels take float32, bfloat16 or float16, not {str(dtype)[6:]}; cast, or {instead}"
    if device.type == "cpu":
        return "" if interpreting() else f"Triton needs a GPU, or TRITON_INTERPRET=1 for its interpreter; {instead}"
    if device.type != "cuda":
        return f"its Triton kernels are written for CUDA; {instead}"
    return _too_old(device, dtype, instead)


def _too_old(device: torch.device, dtype: torch.dtype, instead: str) -> str:
    capability = torch.cuda.get_device_capability(device)
    needed = (8, 0) if dtype == torch.bfloat16 else (7, 5)
    if capability >= needed:
        return ""
    return (
        f"{str(dtype)[6:]} needs compute capability {needed[0]}.{needed[1]}, {_device_name(device)} has "
        f"{capability[0]}.{capability[1]}; {instead}"
    )
