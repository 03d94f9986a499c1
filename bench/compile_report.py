"""Ahead-of-time compilation of the Triton kernels, without a GPU: ``python -m bench.compile_report``.

A cell and a resample-and-sum run forward and backward on meta tensors, every launch is recorded with its arguments as
Triton would specialise them, and each distinct one is compiled for the targets. The table gives registers, stack frame
(where spills live), tensor-core instructions and 16-byte loads; before it stand the launches of a step. The exit status
is 1 where a gate fails: see `gate` and `LAUNCHES`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "0"

import torch  # noqa: E402
import triton  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from autopose.kernels._triton import resample_sum  # noqa: E402
from autopose.kernels._triton.compress import kernels as compress_kernels  # noqa: E402
from autopose.kernels._triton.compress import plan as compress_plan  # noqa: E402
from autopose.kernels._triton.launch import VERSION  # noqa: E402
from autopose.kernels._triton.mixed_edge import backward, forward, gather, input_gradient, pack, plan  # noqa: E402
from autopose.kernels._triton.mixed_edge import taps as products  # noqa: E402
from autopose.kernels.topology import CONV_SIZES, NUM_OPS, Topology  # noqa: E402
from bench.roofline import cell_work  # noqa: E402

TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
TYPES |= {torch.uint8: "u8", torch.int32: "i32", torch.int64: "i64"}
BRANCHES = {16: (64, 48), 32: (32, 24), 64: (16, 12), 128: (8, 6)}
"""Channels of the paper's supernet and the (height, width) of their feature maps at 256 x 192."""

PRODUCTS = ("taps_kernel", "input_gradient_kernel", "weight_gradient_kernel")
TENSOR_CORE = (*PRODUCTS, "compress_product_kernel", "compress_gradient_kernel")
STREAMS = (*PRODUCTS, "mix_kernel", "reduce_kernel", "spread_kernel", "gather_kernel", "pool_stats_kernel")
STREAMS += ("compress_product_kernel", "compress_apply_kernel", "compress_reduce_kernel", "compress_gradient_kernel")
STREAMS += ("prepare_kernel", "forward_kernel", "backward_kernel")
STACK = {("taps_kernel", 80): 64, ("input_gradient_kernel", 80): 8}
"""Bytes of stack allowed: on sm_80 a tile of 64 x 64 with two sums wants a few more registers than there are; a word is
kept there, outside of the loops, where that lets more programs of a lone edge run side by side."""

LAUNCHES = {(1, 1): 12, (1, 4): 30, (4, 2): 18}
"""Most launches of a step (forward and backward with the weights' gradients) of a cell (inputs, nodes)."""

RESAMPLE_LAUNCHES = 2
"""Launches of a resample-and-sum: one forward, one backward."""


@dataclass(frozen=True)
class Launch:
    """A kernel with its specialised arguments: what Triton compiles once."""

    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, object], ...]
    aligned: tuple[str, ...]
    warps: int
    stages: int
    fusion: bool
    registers: int | None


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
    """Every kernel by name."""
    found = {}
    for module in (forward, pack, backward, gather, products, input_gradient, compress_kernels, resample_sum):
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
        name,
        tuple(signature),
        tuple(constants),
        tuple(aligned),
        options.get("num_warps", 4),
        options.get("num_stages", 3),
        options["enable_fp_fusion"],
        options.get("maxnreg"),
    )


def cell_launches(cell: tuple[int, int], channels: int, dtype: torch.dtype, taps: str, batch: int = 64) -> list[Launch]:
    """Launches of a cell (inputs, nodes) of the paper's supernet, forward and backward with the weights' gradients."""
    sources, nodes = cell
    height, width = BRANCHES[channels]
    edges = Topology(sources, nodes).edges
    inputs = torch.empty(sources, batch, height, width, channels, dtype=dtype, device="meta")
    conv = tuple(torch.empty(edges, channels, channels, k, k, device="meta") for k in CONV_SIZES)
    mix = torch.empty(edges, NUM_OPS, device="meta")
    weight = torch.empty(channels, nodes * channels, 1, 1, device="meta")
    none, wanted = (None, None), (True, True, True)

    def run():
        out, y, mean, var, packed, counters = plan.forward(inputs, conv, mix, none, none, nodes, 1e-5, None)
        _, z, z_mean, z_var = compress_plan.forward(out, weight, none, none, counters, 1e-5, None)
        compress_plan.backward(z, out, z, weight, none, z_mean, z_var, counters, False, 1e-5, None, True)
        plan.backward(out, inputs, out, y, packed, conv, mix, none, mean, var, counters, False, 1e-5, None, wanted)

    os.environ["AUTOPOSE_TAPS"] = taps
    return record(run)


def resample_launches(channels: int, dtype: torch.dtype, batch: int = 64) -> list[Launch]:
    """Launches of the resample-and-sum of the paper's four scales to that of ``channels``, forward and backward."""
    layout = dict(dtype=dtype, device="meta", memory_format=torch.channels_last)
    sources = [torch.empty(batch, channels, *size, **layout) for size in BRANCHES.values()]
    weights, size = torch.empty(len(sources), device="meta"), BRANCHES[channels]

    def run():
        resample_sum.backward(resample_sum.forward(sources, weights, size), sources, weights, True)

    return record(run)


def machine_code(launch: Launch, capability: int) -> bytes:
    """The cubin for sm_``capability``."""
    return _compiled(launch, capability).asm["cubin"]


def _compiled(launch: Launch, capability: int):
    kernel = kernels()[launch.kernel]
    position = {name: i for i, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        kernel,
        dict(launch.signature),
        {(position[name],): value for name, value in launch.constants},
        {(position[name],): [["tt.divisibility", 16]] for name in launch.aligned},
    )
    options = {"num_warps": launch.warps, "num_stages": launch.stages, "enable_fp_fusion": launch.fusion}
    options["maxnreg"] = launch.registers
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def compile_launch(launch: Launch, capability: int) -> Compiled:
    """Compile for sm_``capability`` and read the machine code's resources."""
    made = _compiled(launch, capability)
    ptx = made.asm["ptx"]
    usage = _resources(made.asm["cubin"])
    return Compiled(
        registers=int(re.search(r"REG:(\d+)", usage)[1]),
        stack=int(re.search(r"STACK:(\d+)", usage)[1]),
        shared=made.metadata.shared,
        tensor_core=len(re.findall(r"\bwgmma\.mma_async|\bmma\.sync|\btcgen05\.mma", ptx)),
        wide_loads=len(
            re.findall(r"ld\.global\S*\.v4\.b32|cp\.async\.c[ag]\.shared\.global \[[^]]*\], \[[^]]*\], 0x10", ptx)
        ),
        loads=len(re.findall(r"ld\.global|cp\.async\.c[ag]", ptx)),
    )


def _resources(cubin: bytes) -> str:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        answer = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return answer.stdout


def gate(launch: Launch, capability: int, made: Compiled) -> list[str]:
    """What is wrong with a compiled launch of a main shape; empty if nothing is."""
    faults = []
    if made.stack > STACK.get((launch.kernel, capability), 0):
        faults.append(f"{made.stack} bytes of stack")
    # Half precision as float32: where the library convolves, the compression's tiles are small.
    small = dict(launch.constants).get("UPCAST", False)
    if launch.kernel in TENSOR_CORE and capability >= 80 and not made.tensor_core:
        faults.append("no tensor-core instruction")
    if launch.kernel in STREAMS and not small and not made.wide_loads:
        faults.append("no 16-byte load")
    return faults


def count_launches() -> list[str]:
    """Print the launches of a step of every kind of cell and of a resample-and-sum; return those above the ceiling."""
    half, counts, faults = torch.bfloat16, {}, []
    for cell, most in LAUNCHES.items():
        made = [launch.kernel for launch in cell_launches(cell, 16, half, "triton")]
        counts[f"cell {cell}"] = len(made), most
        if made != [work.kernel for work in cell_work(Topology(*cell), 16, 64 * 64 * 48, 2, True)]:
            faults.append(f"cell {cell}: bench.roofline counts other launches than the plan makes")
    counts["resample_sum"] = (len(resample_launches(16, half)), RESAMPLE_LAUNCHES)
    for name, (count, _) in counts.items():
        print(f"launches of a step, {name}: {count}")
    return faults + [
        f"{name}: {count} launches, at most {most}" for name, (count, most) in counts.items() if count > most
    ]


def report(cases, capabilities) -> list[str]:
    """Compile every distinct launch of ``cases`` = (cell, channels, dtype, taps); print rows, return the faults.

    A cell of None stands for the resample-and-sum.
    """
    faults, seen = [], set()
    for cell, channels, dtype, taps in cases:
        recorded = cell_launches(cell, channels, dtype, taps) if cell else resample_launches(channels, dtype)
        launches = dict.fromkeys(recorded)
        for launch, capability in ((one, sm) for one in launches for sm in capabilities):
            if (launch, capability) in seen:
                continue
            seen.add((launch, capability))
            made = compile_launch(launch, capability)
            name = f"{launch.kernel} | {channels} | {TYPES[dtype]} | {capability} | {launch.warps}"
            counts = f"{made.registers} | {made.stack} | {made.shared} | {made.tensor_core}"
            print(f"| {name} | {counts} | {made.wide_loads} of {made.loads} |", flush=True)
            faults += [f"{name}: {fault}" for fault in gate(launch, capability, made)]
    return faults


def main(arguments=None) -> int:
    """Entry point; ``--quick`` compiles the short list of the tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short list: one edge at the narrowest branch")
    quick = parser.parse_args(arguments).quick
    if VERSION < (3, 6):
        print(f"error: the report needs Triton 3.6 or later, this is {triton.__version__}", file=sys.stderr)
        return 2
    faults = count_launches()
    print()
    print("| kernel | C | dtype | sm | warps | registers | stack | shared | mma | 16-byte loads |")
    print("| --- " * 10 + "|")
    half, single = torch.bfloat16, torch.float32
    if quick:
        faults += report([((1, 1), 16, half, "triton"), (None, 16, half, "")], (90, 80))
        faults += report([((1, 1), 16, torch.float16, "library"), (None, 16, torch.float16, "")], (75,))
    else:
        cells = ((1, 1), (1, 4), (4, 2))
        faults += report([(cell, c, half, "triton") for c in BRANCHES for cell in cells], (90, 80))
        faults += report([(None, c, half, "") for c in BRANCHES], (90, 80))
        faults += report([(None, c, torch.float16, "") for c in BRANCHES], (75,))
        faults += report([((1, 4), c, t, "library") for c in BRANCHES for t in (half, single)], (90, 80))
        faults += report([((1, 4), c, torch.float16, "library") for c in BRANCHES], (75,))
    for fault in faults:
        print(f"gate failed: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
