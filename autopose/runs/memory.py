"""Peak memory: predicted before the first step, and the switches that lower it named when it runs out."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.runs.precision import Precision
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")
GIB = 2**30
SWITCHES = {
    "search": "search.accumulate=2, search.activation_checkpointing=true, precision=bf16, "
    "search.gumbel.relaxation=one_op or a smaller search.batch_size",
    "train": "train.accumulate=2, train.activation_checkpointing=true, precision=bf16 or a smaller train.batch_size",
}


def saved_bytes(network: PoseNetwork, images: torch.Tensor, forward) -> int:
    """Bytes that autograd keeps for one backward pass of ``forward(images)``, parameters not counted."""
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward(images)
    del output
    return sum(kept.values())


def predict_peak(
    network: PoseNetwork, image_size: Sequence[int], batch_size: int, precision: Precision, forward
) -> int:
    """Predicted peak bytes of a training step: weights, gradients, Adam's moments and kept activations.

    Activations are measured on two images with every branch active and scaled to the batch. Under activation
    checkpointing, those of one module are there again while its backward pass runs. What the process or the library
    needs for itself (tens of MiB) and the workspace of single operations are not in it.
    """
    parameters = sum(p.numel() * p.element_size() for p in network.parameters())
    device = next(network.parameters()).device
    images = torch.zeros(2, 3, image_size[1], image_size[0], device=device)
    with precision.autocast(device):
        kept = saved_bytes(network, images, forward)
        if network.activation_checkpointing:
            network.activation_checkpointing = False
            kept += (saved_bytes(network, images, forward) - kept) / len(network.modules_)
            network.activation_checkpointing = True
    return int(4 * parameters + kept / 2 * batch_size)


def report_memory(network: PoseNetwork, settings, image_size: Sequence[int], runtime: Runtime) -> None:
    """Log the prediction for a search with every branch active, beside what the device has."""
    from autopose.nas import ArchitectureParameters
    from autopose.nas.randomness import generator

    alphas = ArchitectureParameters(network.space).to(runtime.device)
    mode = network.state.mode
    network.set_norm("batch")

    def forward(images: torch.Tensor) -> torch.Tensor:
        mixtures = alphas.sample(settings.gumbel, 0.0, generator(0))
        return network(images, network.space.macro.all_on(), mixtures)

    batch = settings.batch_size // runtime.world_size // settings.accumulate
    peak = predict_peak(network, image_size, batch, runtime.precision, forward)
    network.set_norm(mode)
    logger.info("memory     about %.2f GiB at peak with every branch active%s", peak / GIB, _room(runtime))


def _room(runtime: Runtime) -> str:
    if runtime.device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(runtime.device)
    return f", {free / GIB:.1f} of {total / GIB:.1f} GiB are free on the device"


@contextmanager
def explain_out_of_memory(kind: str) -> Iterator[None]:
    """Turn running out of memory into one sentence that names the switches that help."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(f"out of memory: {str(error).splitlines()[0][:120]}; use {SWITCHES[kind]}") from None
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise UserError(f"out of memory ({str(error).splitlines()[0][:120]}); use {SWITCHES[kind]}") from None
