"""What every optimisation step needs, in a search and in a training: micro-batches, several processes, no waiting.

A batch maps names to tensors whose first dimension counts its N images: image (N, 3, H, W), target (N, K, h, w) and
target_weight (N, K), the weights of ``joints_mse_loss``.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
TENSORS = ("image", "target", "target_weight")


def micro_batches(batch: Batch, parts: int) -> Iterator[tuple[dict[str, Tensor], float]]:
    """``parts`` near-equal parts of a batch, each with its share of the N images."""
    count = len(batch["image"])
    for micro in zip(*(batch[name].tensor_split(parts) for name in TENSORS), strict=True):
        yield dict(zip(TENSORS, micro, strict=True)), len(micro[0]) / count


def backward(batch: Batch, parts: int, loss: Callable[[Batch], Tensor]) -> Tensor:
    """Backpropagate the mean loss of a batch, one micro-batch after the other; returns it (), averaged over processes.

    It stays on the device: whoever reads it waits for the step.

    Args:
        loss: mean over the images of a micro-batch; one that needs no gradient is only added up.
    """
    total = torch.zeros((), device=batch["image"].device)
    for micro, share in micro_batches(batch, parts):
        value = loss(micro) * share
        if value.requires_grad:
            value.backward()
        total = total + value.detach()
    return averaged(total)


def fused(device: torch.device) -> bool:
    """Whether optimizers take their step in one kernel: one launch on a GPU, a fifth of the time on a CPU."""
    return device.type in ("cpu", "cuda")


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
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return averaged(torch.tensor(value, dtype=torch.float64, device=device)).item()


def averaged(value: Tensor) -> Tensor:
    """Mean of a number () over all processes, where there are several in float64; it stays on its device."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    total = value.to(torch.float64, copy=True)
    dist.all_reduce(total)
    return total / dist.get_world_size()


def on_device(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor of the host on another's device and of its dtype, by a copy that the host does not wait for."""
    if like.device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(like, non_blocking=True)
