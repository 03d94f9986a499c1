"""Settings that must stand before any test imports Triton."""

import os

import torch

if not torch.cuda.is_available():
    # Triton decides at its import whether kernels run compiled or interpreted.
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Tensors of tests are tiny: one thread is the fastest, above all where something else runs beside the tests.
torch.set_num_threads(1)
