"""Memory accesses of interpreted Triton kernels, checked: what compute-sanitizer's memcheck and racecheck do on a GPU.

The interpreter runs a launch's programs one after another and reads whatever lies at an address, so it hides both an
access outside of the tensors and an order of programs that a result depends on. A program that adds to a counter, an
atomic, may from then on load what those have stored that added to it before, and what it has stored itself.
"""

from contextlib import contextmanager

import numpy as np
import torch
from triton.runtime import interpreter

MANY = -1


class _Plane:
    """A storage of a launch: for every element the program that wrote it and the one that read it (0: none)."""

    def __init__(self, tensor: torch.Tensor):
        storage = tensor.untyped_storage()
        self.start, self.size = storage.data_ptr(), tensor.element_size()
        elements = -(-storage.nbytes() // self.size)
        self.end = self.start + elements * self.size
        self.writer, self.reader = np.zeros(elements, np.int64), np.zeros(elements, np.int64)

    def places(self, addresses: np.ndarray) -> np.ndarray:
        return (addresses - np.uint64(self.start)).astype(np.int64) // self.size


class Checker:
    """Accesses of one launch. Raises AssertionError at the first that may not be."""

    def __init__(self, name: str, tensors: list[torch.Tensor]):
        self.name, self.program = name, 0
        self.released: dict[int, set[int]] = {}  # by counter: the programs that have added to it
        self.acquired: set[int] = set()  # the programs whose stores the present one may load
        planes = {t.untyped_storage().data_ptr(): _Plane(t) for t in tensors}
        self.planes = sorted(planes.values(), key=lambda plane: plane.start)

    def next_program(self) -> None:
        self.program += 1
        self.acquired = set()

    def count(self, addresses: np.ndarray) -> None:
        """An atomic addition, which orders this program behind those that have added there."""
        for plane, place in self._split(addresses, "atomic"):
            self._refuse(plane.writer[place] != 0, "counts where the launch has stored")
        for address in addresses.tolist():
            before = self.released.setdefault(address, set())
            before.add(self.program)
            self.acquired |= before

    def load(self, addresses: np.ndarray) -> None:
        for plane, place in self._split(addresses, "load"):
            self._refuse(~np.isin(plane.writer[place], [0, *self.acquired]), "loads what the launch has stored")
            readers = plane.reader[place]
            plane.reader[place] = np.where((readers == 0) | (readers == self.program), self.program, MANY)

    def store(self, addresses: np.ndarray) -> None:
        for plane, place in self._split(addresses, "store"):
            self._refuse(plane.writer[place] != 0, "stores twice to one address")
            readers = plane.reader[place]
            self._refuse((readers != 0) & (readers != self.program), "stores to what another program loads")
            self._refuse(np.array([len(np.unique(place)) != len(place)]), "stores two lanes to one address")
            plane.writer[place] = self.program

    def _split(self, addresses: np.ndarray, what: str):
        left = len(addresses)
        for plane in self.planes:
            mine = addresses[(addresses >= plane.start) & (addresses < plane.end)]
            if len(mine):
                left -= len(mine)
                yield plane, plane.places(mine)
        self._refuse(np.array([left > 0]), f"has {left} {what} addresses outside of its tensors")

    def _refuse(self, wrong: np.ndarray, what: str) -> None:
        assert not wrong.any(), f"{self.name}, program {self.program - 1}: {what}"


@contextmanager
def checked_memory():
    """Every interpreted launch inside is checked."""
    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
    plain = builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx, executor.__call__
    atomic = builder.create_atomic_rmw
    current: list[Checker] = []

    def load(self, pointers, mask, *rest):
        current[-1].load(np.asarray(pointers.data)[np.asarray(mask.data, bool)])
        return plain[0](self, pointers, mask, *rest)

    def store(self, pointers, value, mask, *rest):
        current[-1].store(np.asarray(pointers.data)[np.asarray(mask.data, bool)])
        return plain[1](self, pointers, value, mask, *rest)

    def add(self, operation, pointers, value, mask, *rest):
        current[-1].count(np.asarray(pointers.data)[np.asarray(mask.data, bool)])
        return atomic(self, operation, pointers, value, mask, *rest)

    def program(self, *index):
        current[-1].next_program()
        return plain[2](self, *index)

    def launch(self, *arguments, **options):
        tensors = [t for t in (*arguments, *options.values()) if isinstance(t, torch.Tensor)]
        current.append(Checker(self.fn.__name__, tensors))
        try:
            return plain[3](self, *arguments, **options)
        finally:
            current.pop()

    builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx = load, store, program
    executor.__call__, builder.create_atomic_rmw = launch, add
    try:
        yield
    finally:
        builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx, executor.__call__ = plain
        builder.create_atomic_rmw = atomic
