"""Steps that are not finite: skipped on the device, where the host does not wait to know, and counted when read."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from autopose.errors import Diverged

READ_EVERY = 10  # steps from one reading of losses and bad steps to the next; a traced run reads each


class BadSteps:
    """Counts steps whose gradient is not finite; ``limit`` of them in a row end the run.

    An iteration may take several steps, of one number; it breaks the row where none of them was bad. What was judged
    since the last ``read`` is still on the device.
    """

    def __init__(self, limit: int):
        self.limit, self._count, self._in_a_row = limit, 0, 0
        self._unread: list[tuple[int, Tensor]] = []

    def judge(self, norm: Tensor, step: int) -> Tensor:
        """1.0 where a gradient's norm () is not finite, else 0.0: float32, on the norm's device."""
        bad = (norm - norm).ne(0).float()  # inf - inf is NaN; isfinite would be four launches
        self._unread.append((step, bad))
        return bad

    def read(self) -> None:
        """Count what was judged; the one place where the host waits. Belongs between two iterations.

        Raises:
            Diverged: ``limit`` bad steps in a row, with the number of the last.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        flags = torch.stack([bad for _, bad in unread]).tolist()
        for step, group in groupby(zip((step for step, _ in unread), flags, strict=True), key=lambda pair: pair[0]):
            bad = int(sum(flag for _, flag in group))
            for _ in range(bad):
                self._count += 1
                self._in_a_row += 1
                if self._in_a_row >= self.limit:
                    raise Diverged(f"{self._in_a_row} steps in a row had a gradient that is not finite, at step {step}")
            self._in_a_row *= bad > 0

    @property
    def count(self) -> int:
        """All bad steps so far; reads."""
        self.read()
        return self._count

    @property
    def in_a_row(self) -> int:
        """Bad steps since the last good iteration; reads."""
        self.read()
        return self._in_a_row

    def state_dict(self) -> list[int]:
        """Both counts; reads."""
        return [self.count, self.in_a_row]

    def load_state_dict(self, state: list[int]) -> None:
        """The inverse of ``state_dict``."""
        self._unread = []
        self._count, self._in_a_row = state


class Undo:
    """Tensors as they are now, to be put back where a step turns out bad."""

    def __init__(self, tensors: Iterable[Tensor]):
        kinds: dict[tuple, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
        self._kept = [(group, _flat(group)) for group in kinds.values()]

    def __call__(self, bad: Tensor) -> None:
        """Put them back where ``bad`` () is not 0."""
        for group, before in self._kept:
            chosen = torch.where(bad.to(before.device) != 0, before, _flat(group))
            torch._foreach_copy_(group, torch._utils._unflatten_dense_tensors(chosen, group))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    # One tensor, or every small one would be a launch of its own.
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@torch.no_grad()
def step_unless(bad: Tensor, optimizer: Any) -> None:
    """The optimizer's step, that of none where ``bad`` () is 1: no parameter, moment or count of steps moves.

    Fused Adam looks at ``bad`` itself. What another optimizer moves is put back, which takes a copy of its parameters;
    a momentum that it has first made for a bad step is left at zero, which the next step takes for none.
    """
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) and all(
        g.get("fused") for g in optimizer.param_groups
    ):
        optimizer.found_inf = bad  # type: ignore[attr-defined]  # as torch.amp.GradScaler does
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
        return
    moving = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    known = {p: dict(optimizer.state[p]) for p in moving if p in optimizer.state}
    undo = Undo([*moving, *_tensors(known.values())])
    optimizer.step()
    undo(bad)
    for parameter in moving:
        before = known.get(parameter, {})
        for new in _tensors([{k: v for k, v in optimizer.state[parameter].items() if before.get(k) is None}]):
            new.copy_(torch.where(bad.to(new.device) != 0, 0, new))


def _tensors(states: Iterable[dict]) -> list[Tensor]:
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]


class ExponentialAverage(AveragedModel):
    """An exponential moving average of a network's parameters and buffers, which leaves out bad steps unasked.

    Args:
        network: that is averaged; its state before the first step counts for nothing.
        decay: weight of what was, in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__(network, next(network.parameters()).device, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, bad: Tensor) -> None:
        """Move towards the network, unless ``bad`` () is 1."""
        weight = torch.where(self.n_averaged == 0, 1.0, 1 - self.decay) * (1 - bad)
        pairs = list(zip(*([*n.parameters(), *n.buffers()] for n in (self.module, network)), strict=True))
        own, new = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(own, new, [weight.to(value.dtype).expand_as(value) for value in own])
        for count, theirs in pairs:
            if not count.is_floating_point():  # of batches that another package's normalisation saw
                moved = count * self.decay + theirs * (1 - self.decay)
                count.copy_(torch.where(weight == 0, count, torch.where(weight == 1, theirs, moved)))
        self.n_averaged += (1 - bad).to(self.n_averaged.dtype)
