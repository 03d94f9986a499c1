"""Where the time and the memory of a run went."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

T = TypeVar("T")
STATUS = Path("/proc/self/status")
# Share of the time of data and steps from which on a run says that it waits, and seconds before it judges.
MUCH, SOON = 0.3, 20.0


class Clock:
    """Seconds by phase of this process, a phase being whatever the loop names: "data", "steps", "reward", ….

    Phases do not nest: time inside of two belongs to the inner one.
    """

    def __init__(self):
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._energy = _card_energy()
        self._inner = 0.0
        self._said = False

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside under ``name``, less what an inner phase counts."""
        outer_inner, self._inner, start = self._inner, 0.0, time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent - self._inner
            self.counts[name] = self.counts.get(name, 0) + 1
            self._inner = outer_inner + spent

    def waiting(self, items: Iterable[T], name: str = "data", steps: str = "") -> Iterator[T]:
        """``items``, the time that each of them took to come counted under ``name``.

        Args:
            steps: the phase that counts it instead where the GPU was still busy when the item came: it lacked nothing.
        """
        source = iter(items)
        while True:
            before, launched = self.seconds.get(name, 0.0), _launched()
            with self.phase(name):
                try:
                    item = next(source)
                except StopIteration:
                    return
            if steps and launched is not None and not launched.query():
                self.seconds[steps] = self.seconds.get(steps, 0.0) + self.seconds[name] - before
                self.seconds[name] = before
            yield item

    def waits(self, steps: str, workers: int) -> str:
        """One sentence, the first time that waiting for data is seen to take much of a run's steps; else nothing.

        Args:
            steps: the phase that data are waited for.
            workers: processes that load them.
        """
        data = self.seconds.get("data", 0.0)
        whole = data + self.seconds.get(steps, 0.0)
        if self._said or whole < SOON or data < MUCH * whole:
            return ""
        self._said = True
        return (
            f"waiting for data takes {data / whole:.0%} of the steps' time: data.workers={max(2 * workers, 2)} loads "
            "more beside them, data.cache=disk decodes every picture once (docs/troubleshooting.md)"
        )

    def report(self) -> dict:
        """What was counted.

        Returns:
            {"seconds", "phases" {name: seconds}, "counts" {name: how often}, "peak_memory" and "peak_device_memory" in
            bytes, "energy" of the card in joules; None where not known}.
        """
        total = time.monotonic() - self.started
        phases = {**self.seconds, "rest": max(total - sum(self.seconds.values()), 0.0)}
        on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        energy = _card_energy()
        return {
            "seconds": total,
            "phases": phases,
            "counts": dict(self.counts),
            "peak_memory": peak_memory(),
            "peak_device_memory": torch.cuda.max_memory_allocated() if on_gpu else None,
            "energy": None if energy is None or self._energy is None else energy - self._energy,
        }


def _launched() -> torch.cuda.Event | None:
    """An event behind all that this process has launched on its GPU; None where it has none."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return None
    event = torch.cuda.Event()
    event.record()
    return event


def peak_memory() -> int | None:
    """Bytes that this process held at most; None where the system does not tell."""
    try:
        status = STATUS.read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    if resource is None:
        return None
    # Elsewhere than on Linux, where this also counts what the process that started this one held.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _card_energy() -> float | None:
    """Joules that the card has drawn since its driver was loaded; None where there is none or it does not tell."""
    if not torch.cuda.is_available():
        return None
    try:
        import pynvml  # of the optional nvidia-ml-py
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")) / 1000
    except (AttributeError, pynvml.NVMLError):
        return None
