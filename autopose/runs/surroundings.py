"""What a run sets for its process, given back at its end: a notebook and a program live on after it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

logger = logging.getLogger("autopose")
# See ``runtime.start``; cuBLAS reads it where its deterministic algorithms are asked for.
_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def surroundings_kept() -> Iterator[None]:
    """The log's handlers and levels, PyTorch's threads, determinism and random numbers are as before after the block.

    Random numbers of CUDA too, where it has been used before.
    """
    log = logger.handlers[:], logger.propagate, logger.disabled, logger.level
    everybody = logging.getLogger().level
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(_WORKSPACE)
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        logger.handlers[:], logger.propagate, logger.disabled = log[:3]
        logger.setLevel(log[3])
        logging.getLogger().setLevel(everybody)
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        if workspace is None:
            os.environ.pop(_WORKSPACE, None)
