"""Randomness without state: every draw of a search is a function of (seed, purpose, step).

So a resumed search, and every process of a distributed one, draws the same numbers with nothing to save or to send.
"""

import hashlib

import torch


def derive_seed(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed for one purpose, e.g. ``derive_seed(seed, "gumbel", step)``."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """A CPU generator seeded for one purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))
