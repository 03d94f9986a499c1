"""What every optimisation step needs, in a search and in a training: micro-batches, bad steps, several processes.

A batch maps names to tensors whose first dimension counts its N images: image (N, 3, H, W), target (N, K, h, w) and
target_weight (N, K), the weights of ``joints_mse_loss``.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from autopose.errors import Diverged

Batch = Mapping[str, Tensor]
TENSORS = ("image", "target", "target_weight")


def micro_batches(batch: Batch, parts: int) -> Iterator[tuple[dict[str, Tensor], float]]:
    """``parts`` near-equal parts of a batch, each with its share of the N images."""
    count = len(batch["image"])
    for micro in zip(*(batch[name].tensor_split(parts) for name in TENSORS), strict=True):
        yield dict(zip(TENSORS, micro, strict=True)), len(micro[0]) / count


def backward(batch: Batch, parts: int, loss: Callable[[Batch], Tensor]) -> float:
    """Backpropagate the mean loss of a batch, one micro-batch after the other; returns it, averaged over processes.

    Args:
        loss: mean over the images of a micro-batch; one that needs no gradient is only added up.
    """
    total = 0.0
    for micro, share in micro_batches(batch, parts):
        value = loss(micro) * share
        if value.requires_grad:
            value.backward()
        total = total + value.detach()
    return average(float(total))


def fused(device: torch.device) -> bool:
    """Whether optimizers take their step in one kernel: one launch on a GPU, a fifth of the time on a CPU."""
    return device.type in ("cpu", "cuda")


class BadSteps:
    """Counts steps whose gradient is not finite, which are skipped; a run of ``limit`` of them ends the run."""

    def __init__(self, limit: int):
        self.limit, self.count, self.in_a_row = limit, 0, 0

    def usable(self, norm: Tensor, step: int) -> bool:
        """Whether a step with this gradient norm may be taken.

        Raises:
            Diverged: ``limit`` bad steps since the last ``good``.
        """
        if torch.isfinite(norm):
            return True
        self.count += 1
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            raise Diverged(f"{self.in_a_row} steps in a row had a gradient that is not finite, at step {step}")
        return False

    def good(self) -> None:
        """A step, or an iteration of several, went well."""
        self.in_a_row = 0

    def state_dict(self) -> list[int]:
        """Both counts."""
        return [self.count, self.in_a_row]

    def load_state_dict(self, state: list[int]) -> None:
        """The inverse of ``state_dict``."""
        self.count, self.in_a_row = state


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Average gradients over all processes in one all-reduce; the active set is known, so nothing is searched for.

    All processes draw the same operations, so a parameter without a gradient has none anywhere, and keeps none.
    """
    parameters = [p for p in parameters if p.grad is not None]
    if not parameters or not dist.is_initialized() or dist.get_world_size() == 1:
        return
    grads = [p.grad for p in parameters]
    flat = torch._utils._flatten_dense_tensors(grads)
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, grad in zip(parameters, torch._utils._unflatten_dense_tensors(flat, grads), strict=True):
        parameter.grad.copy_(grad)  # in its own memory format, which a fused optimizer takes for the parameter's


def average(value: float) -> float:
    """Mean of a number over all processes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(tensor)
    return tensor.item() / dist.get_world_size()
