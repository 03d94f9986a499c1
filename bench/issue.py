"""What the products' programs issue, read from the machine code for sm_90: ``python -m bench.issue [--quick]``.

An SM issues four instructions of a warp a clock, so instructions, warps and multiply-adds of a program say how many
multiply-adds it could do a clock if nothing but issuing held it up; the tensor cores' peak is 2,048. `bench.roofline`
keeps the table for the sources of four edges of the paper's cells, and takes from it how near its peak a product comes.
The exit status is 1 where that table is more than a tenth off. ``--quick`` looks at the narrowest input gradient alone.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import triton

from autopose.kernels._triton.launch import VERSION
from autopose.kernels.topology import CONV_TAPS, NUM_TAPS
from bench.compile_report import BRANCHES, PRODUCTS, Launch, cell_launches, machine_code
from bench.roofline import ISSUED

SCHEDULERS, TOLERANCE = 4, 0.1


def instructions(cubin: bytes) -> list[tuple[int, str]]:
    """Address and text of every instruction."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-sass", file.name], capture_output=True, text=True, check=True).stdout
    return [(int(address, 16), line) for address, line in re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", text, re.M)]


def product_loops(code: list[tuple[int, str]]) -> list[range]:
    """The loops with products in them, by the instructions' numbers, inner ones before those around them."""
    number, found = {address: i for i, (address, _) in enumerate(code)}, []
    for last, (address, line) in enumerate(code):
        jump = re.search(r"BRA\b.*?(0x[0-9a-f]+)", line)
        target = int(jump[1], 16) if jump else address
        if target < address and target in number:
            loop = range(number[target], last + 1)
            if any("MMA" in code[i][1] for i in loop):
                found.append(loop)
    return sorted(found, key=len)


def multiply_adds(launch: Launch) -> float:
    """A clock of an SM, if issuing alone held the launch up."""
    if launch.kernel == "taps_kernel":  # without what the last programs alone do
        launch = replace(launch, constants=tuple((k, 0 if k in ("AHEAD", "SPAN") else v) for k, v in launch.constants))
    sizes = dict(launch.constants)
    code = instructions(machine_code(launch, 90))
    loops, columns = product_loops(code), sizes["EB"] * sizes["NC"]
    if launch.kernel == "weight_gradient_kernel":
        # A tile's taps are of one convolution: the last tile of each is padded.
        padded = sum(-(-taps // sizes["TB"]) * sizes["TB"] for taps in CONV_TAPS)
        work, issued = sizes["TB"] * sizes["NI"] * columns * sizes["BK"] * NUM_TAPS / padded, len(loops[0])
    elif launch.kernel == "taps_kernel":
        work = sizes["BM"] * sizes["BK"] * columns * NUM_TAPS * sizes["KB"]
        inner = sorted(loops, key=lambda loop: loop.start)
        turns = [turn * sizes["KB"] for turn in (1, 9, 16)][-len(inner) :] if inner else []
        issued = len(code) + sum(len(loop) * (turn - 1) for loop, turn in zip(inner, turns, strict=True))
    else:
        taps = NUM_TAPS if sizes["POINT"] else NUM_TAPS - 1
        work = sizes["BM"] * columns * sizes["NC"] * taps
        *inner, block = loops
        turns = (3, 5) if sizes["ROWS"] else (-(-taps // sizes["SPLITS"]),)
        work /= 1 if sizes["ROWS"] else taps / turns[0]
        issued = len(block) + sum(len(loop) * (turn - 1) for loop, turn in zip(inner, turns, strict=True))
    return work / (issued * launch.warps / SCHEDULERS)


def widest(kernel: str, channels: int) -> Launch:
    """The launch of an individual cell's input, whose four edges fill most columns."""
    launches = [one for one in cell_launches((1, 4), channels, torch.bfloat16, "triton") if one.kernel == kernel]
    return max(launches, key=lambda one: dict(one.constants)["EB"])


def main(arguments=None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the narrowest input gradient alone")
    quick = parser.parse_args(arguments).quick
    if VERSION < (3, 6):
        print(
            f"error: the machine code is read with Triton 3.6 or later, this is {triton.__version__}", file=sys.stderr
        )
        return 2
    status = 0
    print("| kernel | C | multiply-adds a clock | bench.roofline's |\n| --- | --- | --- | --- |")
    for kernel in ("input_gradient_kernel",) if quick else PRODUCTS:
        for channels in (16,) if quick else BRANCHES:
            found, kept = multiply_adds(widest(kernel, channels)), ISSUED[kernel][channels]
            print(f"| {kernel} | {channels} | {found:.0f} | {kept} |", flush=True)
            if abs(found / kept - 1) > TOLERANCE:
                print(f"{kernel}, C = {channels}: bench.roofline's table is not of this code", file=sys.stderr)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
