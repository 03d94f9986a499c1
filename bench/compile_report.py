"""Ahead-of-time compilation of every Triton kernel that a cell launches: ``python -m bench.compile_report``.

No GPU is needed: a cell runs on meta tensors, every launch is recorded with the arguments as Triton would specialise
them, and each distinct one is compiled for the given targets. Per kernel: registers, stack frame (spills live there),
tensor-core instructions and the widest global loads. Gates make the exit status 1.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "0"

import torch  # noqa: E402
import triton  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from autopose.kernels._triton import mixed_edge as _operators  # noqa: E402, F401
from autopose.kernels._triton import mixed_edge_cell, mixed_edge_convs, mixed_edge_mix, mixed_edge_reduce  # noqa: E402

TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.uint8: "u8", torch.int64: "i64"}
BRANCHES = {16: (64, 48), 32: (32, 24), 64: (16, 12), 128: (8, 6)}
"""Channels of the paper's supernet and the (height, width) of their feature maps at 256 x 192."""


@dataclass(frozen=True)
class Launch:
    """A kernel with its specialised arguments: what Triton compiles once."""

    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, object], ...]
    aligned: tuple[str, ...]
    warps: int
    stages: int


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of a launch on one target."""

    registers: int
    stack: int
    shared: int
    tensor_core: int
    wide_loads: int
    loads: int


def kernels() -> dict[str, object]:
    """Every kernel of the mixed edge by name."""
    found = {}
    for module in (mixed_edge_mix, mixed_edge_reduce, mixed_edge_convs):
        found |= {n: k for n, k in vars(module).items() if n.endswith("_kernel") and isinstance(k, triton.JITFunction)}
    return found


def record(run) -> list[Launch]:
    """Every launch that ``run()`` makes, in order; nothing is executed."""
    seen, known = [], kernels()
    for name, kernel in known.items():
        kernel.run = lambda *args, _name=name, _kernel=kernel, **options: seen.append(
            _specialise(_name, _kernel, args, options)
        )
    try:
        run()
    finally:
        for kernel in known.values():
            del kernel.run
    return seen


def _specialise(name: str, kernel, args, options) -> Launch:
    named = dict(zip(kernel.arg_names, args, strict=False))
    named |= {k: v for k, v in options.items() if k in kernel.arg_names}
    signature, constants, aligned = [], [], []
    for param in kernel.params:
        value = named[param.name]
        if param.is_constexpr or value is None:
            signature.append((param.name, "constexpr"))
            constants.append((param.name, value))
        elif isinstance(value, torch.Tensor):
            signature.append((param.name, "*" + TYPES[value.dtype]))
            if value.storage_offset() * value.element_size() % 16 == 0:
                aligned.append(param.name)
        elif isinstance(value, float):
            signature.append((param.name, "fp32"))
        elif value == 1 and not param.do_not_specialize:
            signature.append((param.name, "constexpr"))
            constants.append((param.name, 1))
        else:
            signature.append((param.name, "i32" if -(2**31) <= value < 2**31 else "i64"))
            if value % 16 == 0 and not param.do_not_specialize:
                aligned.append(param.name)
    return Launch(
        name, tuple(signature), tuple(constants), tuple(aligned), options.get("num_warps", 4), options.get("num_stages", 3)
    )


def cell_launches(sources: int, nodes: int, channels: int, dtype: torch.dtype, batch: int = 64, affine=False):
    """Launches of one cell of the paper's supernet, forward and backward."""
    height, width = BRANCHES[channels]
    edges = nodes * sources + nodes * (nodes - 1) // 2
    inputs = torch.empty(sources, batch, height, width, channels, dtype=dtype, device="meta")
    conv = tuple(torch.empty(edges, channels, channels, k, k, device="meta") for k in (1, 3, 5))
    mix = torch.empty(edges, 6, device="meta")
    table = torch.empty(edges, 5, channels, device="meta")
    scale = (table, table) if affine else (None, None)

    def run():
        out, y, mean, var = mixed_edge_cell.forward(inputs, conv, mix, scale, (None, None), nodes, 1e-5, None)
        wanted = (True, True, True)
        mixed_edge_cell.backward(out, inputs, out, y, conv, mix, scale, mean, var, False, 1e-5, None, wanted)

    return record(run)


def compile_launch(launch: Launch, capability: int) -> Compiled:
    """Compile for sm_``capability`` and read the machine code's resources."""
    kernel = kernels()[launch.kernel]
    position = {name: i for i, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        kernel,
        dict(launch.signature),
        {(position[name],): value for name, value in launch.constants},
        {(position[name],): [["tt.divisibility", 16]] for name in launch.aligned},
    )
    target = GPUTarget("cuda", capability, 32)
    options = {"num_warps": launch.warps, "num_stages": launch.stages, "enable_fp_fusion": True}
    made = triton.compile(source, target=target, options=options)
    ptx = made.asm["ptx"]
    usage = _resources(made.asm["cubin"])
    return Compiled(
        registers=int(re.search(r"REG:(\d+)", usage)[1]),
        stack=int(re.search(r"STACK:(\d+)", usage)[1]),
        shared=made.metadata.shared,
        tensor_core=len(re.findall(r"\bwgmma\.mma_async|\bmma\.sync", ptx)),
        wide_loads=len(re.findall(r"ld\.global\S*\.v4\.b32|cp\.async\.c[ag]\.shared\.global \[[^]]*\], \[[^]]*\], 0x10", ptx)),
        loads=len(re.findall(r"ld\.global|cp\.async\.c[ag]", ptx)),
    )


def _resources(cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        answer = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return answer.stdout


if __name__ == "__main__":
    import time
    for c in (16,128):
        ls = cell_launches(1, 1, c, torch.bfloat16)
        print(len(ls))
        for l in dict.fromkeys(ls):
            for cap in (90,):
                t=time.time(); print(c, cap, l.kernel, compile_launch(l, cap), f"{time.time()-t:.1f}s", flush=True)
