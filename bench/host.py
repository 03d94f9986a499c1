"""What launching costs the host, without a GPU: ``python -m bench.host [--quick]``.

A stand-in for Triton's driver compiles the kernels for sm_90 and makes no launch. Every launch that is kept
(`launch.Launch`) is first compared with the one that Triton itself would make for the same arguments: the same compiled
kernel, grid and arguments. Then steps (forward and backward) of cells of tiny bf16 states are timed, with kept launches
and with Triton asked every time, in turn. The launch itself, through CUDA's driver, is missing from both.
The exit status is 1 where a launch differs. ``--quick`` compares the launches of a lone edge only and times nothing.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager

os.environ["TRITON_INTERPRET"] = "0"

import torch  # noqa: E402
import triton  # noqa: E402
from torch import Tensor  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402

from autopose import kernels  # noqa: E402
from autopose.kernels import dispatch  # noqa: E402
from autopose.kernels._triton.launch import VERSION, Launch  # noqa: E402
from autopose.kernels.topology import CONV_SIZES, NUM_OPS, Topology  # noqa: E402
from autopose.runs.machine import machine  # noqa: E402
from autopose.runs.timing import Interleaved  # noqa: E402

CELLS = {"mixed edge": (1, 1), "individual cell": (1, 4), "aggregation cell": (4, 2)}
ROUNDS = 200


class StandIn:
    """Triton's driver of a GPU of compute capability 9.0 that is not there; ``made`` is the last launch."""

    def __init__(self):
        self.made: tuple = ()
        self.utils, self.launcher_cls = self, lambda source, metadata: self._launch

    def _launch(self, *arguments) -> None:
        """The arguments are the grid (3), the stream, the loaded kernel, four of Triton's own and the kernel's."""
        self.made = arguments

    def load_binary(self, name, kernel, shared, device):
        return object(), object(), 0, 0, 1024

    def unload_module(self, module) -> None:
        pass

    def get_device_properties(self, device) -> dict[str, int]:
        return {"max_shared_mem": 232448}

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


@contextmanager
def launching(how: Callable):
    """Every `Launch` is called as ``how(launch, *tensors)``."""
    before, Launch.__call__ = Launch.__call__, how
    try:
        yield
    finally:
        Launch.__call__ = before


def asked(launch: Launch, *tensors: Tensor | None) -> None:
    """As Triton does it: look up what every argument is, then launch."""
    launch.kernel[launch.grid](*tensors, *launch.sizes, **launch.options)


class Comparison:
    """Launches twice, as kept and as asked; counts the launches and remembers the kernels that differ."""

    def __init__(self, driver: StandIn):
        self.driver, self.kept, self.count, self.faults = driver, Launch.__call__, 0, set()

    def __call__(self, launch: Launch, *tensors: Tensor | None) -> None:
        found = []
        for how in (self.kept, asked):
            how(launch, *tensors)
            made = self.driver.made
            found.append((made[:3], made[4], [a.data_ptr() if isinstance(a, Tensor) else a for a in made[9:]]))
        self.count += 1
        if found[0] != found[1]:
            self.faults.add(launch.kernel.__name__)


def cell(inputs: int, nodes: int, channels: int = 16, dtype=torch.bfloat16, offset: int = 0) -> Callable[[], None]:
    """A step of a cell of tiny states; its tensors begin ``offset`` elements after an aligned address."""
    edges = Topology(inputs, nodes).edges

    def leaf(*shape: int, dtype=dtype) -> Tensor:
        return torch.zeros(offset + math.prod(shape), dtype=dtype)[offset:].view(shape).requires_grad_()

    states = [leaf(2, 8, 6, channels).detach().permute(0, 3, 1, 2).requires_grad_() for _ in range(inputs)]
    convs = [leaf(edges, channels, channels, k, k) for k in CONV_SIZES]
    mix, weight = leaf(edges, NUM_OPS, dtype=torch.float32), leaf(channels, nodes * channels, 1, 1)
    grad = torch.zeros_like(states[0])

    def step() -> None:
        out = kernels.mixed_cell(states, nodes, *convs, mix, kernels.Compression(weight), implementation="triton")
        torch.autograd.grad(out, [*states, *convs, mix, weight], grad)

    return step


def resample_sum(sources: int) -> Callable[[], None]:
    """A step of the resample-and-sum of ``sources`` scales."""
    shapes = [(2, 2 << index, 2 << index, 16) for index in range(sources)]
    states = [torch.zeros(shape, dtype=torch.bfloat16).permute(0, 3, 1, 2).requires_grad_() for shape in shapes]
    weights = torch.ones(sources, requires_grad=True)

    def step() -> None:
        out = kernels.resample_sum(states, weights, (4, 4), implementation="triton")
        torch.autograd.grad(out, [*states, weights], torch.zeros_like(out))

    return step


def compare(driver: StandIn, steps: list[Callable[[], None]]) -> set[str]:
    """Print how many launches were compared; names of the kernels whose kept launch is another."""
    comparison = Comparison(driver)
    with launching(lambda launch, *tensors: comparison(launch, *tensors)):
        for taps in ("triton", "library"):
            os.environ["AUTOPOSE_TAPS"] = taps
            for step in steps:
                for _ in range(2):
                    step()
    del os.environ["AUTOPOSE_TAPS"]
    print(f"compared {comparison.count} launches with Triton's own: {len(comparison.faults)} kernels differ")
    return comparison.faults


def time_steps() -> None:
    """Print the host's time for a step of every cell and of the resample-and-sum, and what one look-up takes."""
    steps = {name: cell(*shape) for name, shape in CELLS.items()} | {"resample-and-sum": resample_sum(4)}
    print("\n| step | launches | kept ms | asked every time ms | ratio |")
    print("| --- " * 5 + "|")
    for name, step in steps.items():
        count = []
        with launching(lambda launch, *tensors, count=count: count.append(launch)):
            step()

        def every_time(step=step) -> None:
            with launching(asked):
                step()

        timer = Interleaved({"kept": step, "asked": every_time}, gpu=False)
        timer.warm_up(20)
        for _ in range(ROUNDS):
            timer.round()
        kept, other = (timer.timings()[way].p50_ms for way in ("kept", "asked"))
        print(f"| {name} | {len(count)} | {kept:.3f} | {other:.3f} | {other / kept:.2f} |")


def main(arguments=None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="compare the launches of a lone edge, time nothing")
    quick = parser.parse_args(arguments).quick
    if VERSION < (3, 6):
        print(f"error: launches are kept with Triton 3.6 and later, this is {triton.__version__}", file=sys.stderr)
        return 2
    driver = StandIn()
    triton.runtime.driver.set_active(driver)
    dispatch._missing_for_triton = lambda *_: ""
    torch.set_num_threads(1)
    steps = [cell(1, 1), cell(1, 1, offset=1), resample_sum(4)]
    if not quick:
        steps += [cell(*shape, c, d) for shape in CELLS.values() for c, d in ((32, torch.float16), (5, torch.float32))]
    faults = compare(driver, steps)
    for name in sorted(faults):
        print(f"another launch is kept: {name}", file=sys.stderr)
    if not quick:
        info = machine()
        print(f"{info['cpu']}, Python {info['python']}, torch {info['torch']}, triton {triton.__version__}")
        time_steps()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
