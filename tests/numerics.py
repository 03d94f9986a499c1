"""What a kernel's result may differ by from the float64 truth: one table for every test and benchmark.

The rule: a kernel's relative error ||out - truth|| / ||truth|| is at most twice that of PyTorch in the same dtype,
plus a floor of a few roundings of that dtype.
"""

import torch
from torch import Tensor

FACTOR = 2.0
FLOOR = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 5e-4,
    torch.bfloat16: 4e-3,
}


def relative_error(found: Tensor, truth: Tensor) -> float:
    """||found - truth|| / ||truth|| in float64; infinite where ``found`` holds NaN or has another shape."""
    if found.shape != truth.shape or not torch.isfinite(found).all():
        return float("inf")
    truth = truth.double()
    return float((found.double() - truth).norm() / truth.norm().clamp_min(1e-30))


def check_close(name: str, found: Tensor, same_dtype: Tensor, truth: Tensor, dtype: torch.dtype) -> None:
    """Assert the rule for one tensor; ``same_dtype`` is PyTorch's result in ``dtype``."""
    error, theirs = relative_error(found, truth), relative_error(same_dtype, truth)
    allowed = FACTOR * theirs + FLOOR[dtype]
    assert error <= allowed, f"{name}: relative error {error:.2e}, PyTorch's {theirs:.2e}, allowed {allowed:.2e}"
