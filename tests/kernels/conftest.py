"""Poisoned and watched memory for the kernels' tests."""

import pytest
import torch
from torch import Tensor

from autopose.kernels import dispatch


@pytest.fixture(autouse=True)
def watched_memory():
    """Interpreted kernels may only touch their tensors, and no program what another one stores."""
    if not (dispatch.HAS_TRITON and dispatch.interpreting()):
        yield
        return
    from tests.kernels.watched_memory import checked_memory

    with checked_memory():
        yield


@pytest.fixture
def poison(monkeypatch):
    """Uninitialised memory holds NaN (255 where it holds integers), so that an element nobody wrote is seen."""

    def poisoned(allocate):
        def wrapper(*args, **kwargs):
            out = allocate(*args, **kwargs)
            out.detach().fill_(float("nan") if out.is_floating_point() else 255)  # some are made to require gradients
            return out

        return wrapper

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))


@pytest.fixture
def full_precision():
    """float32 without tf32, in the kernels as in the library's convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def same_bits(monkeypatch):
    """The library convolves by algorithms that give the same bits twice; cuDNN's default choice may not."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
