"""Pieces of a step that run from static buffers, on a CUDA GPU as graphs: N images, E edges, K operations.

A graph needs the same launches on the same memory each time, and a step has another β each time. So every part of a
branch (its two individual cells; its resampling and aggregation cell) is a piece of its own, for a step of ω and for
one of α. A step copies its features and sampled weights into the buffers of the active pieces and replays them; an
inactive branch has nothing to replay, its tensor goes straight to the next piece's buffer.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .cell import EdgeMixture

WARM_UPS = 3


class Pieces:
    """Runs the parts of branches from static buffers; made for batches of one shape, precision and mode of norms.

    The backward pass of a step has to end before the next forward pass. A graph's memory stays where it was captured,
    intermediate values as well: it grows to that of all branches on. A step's graphs share none of it, since β brings
    them in any order: what one still needs would lie where another works. The steps of ω and of α take turns in theirs.

    Args:
        capture: replay CUDA graphs; else the same calls run on the same buffers, one after the other.
        keep: keep what a backward pass read, as graphs do, also where none is captured.
    """

    def __init__(self, capture: bool = True, keep: bool = False):
        self.capture, self.keep = capture, keep
        self.pieces: dict[tuple, Piece] = {}
        self._memory: dict[Any, Memory] = {}
        self._parameters: dict[nn.Module, list[nn.Parameter]] = {}  # a walk over modules costs more than a replay
        # Modules mix alike: a branch's sampled weights have one buffer for all of them, filled once a step.
        self._weights: dict[tuple, Tensor] = {}
        self._filled: dict[Tensor, Tensor] = {}

    def __call__(
        self, parts: Sequence[Any], features: Sequence[Sequence[Tensor]], mixtures: Sequence[dict[str, EdgeMixture]]
    ) -> Sequence[Tensor]:
        """``part(features, mixture)`` of each of some branches' bound methods, by their pieces.

        Where all read the same list of features, their gradients are added up together. Gradients for all that needs
        any.

        Raises:
            ValueError: a mixture that chooses one operation an edge, or features that are not those of the first call.
        """
        if any(each.chosen is not None for mixture in mixtures for each in mixture.values()):
            raise ValueError("a piece cannot choose operations: its launches are the same in every step")
        pieces = [self._piece(*each) for each in zip(parts, features, mixtures, strict=True)]
        weights = [each.weights for mixture in mixtures for each in mixture.values()]
        self._fill([buffer for piece in pieces for buffer in piece.inputs[piece.count :]], weights)
        together = all(read is features[0] for read in features)
        read = [x for each in (features[:1] if together else features) for x in each]
        # One parameter stands for all: the outputs need gradients, and a piece itself gives its parameters theirs.
        learned = next((piece.parameters[:1] for piece in pieces if piece.parameters), [])
        return _Replay.apply(pieces, together, *read, *weights, *learned) if pieces else []

    def _fill(self, buffers: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        """Copy sampled weights to their buffers, unless they are there from another module of this step."""
        stale = [(b, w) for b, w in zip(buffers, weights, strict=True) if self._filled.get(b) is not w]
        if stale:
            self._filled.update(stale)
            with torch.no_grad():
                torch._foreach_copy_(*map(list, zip(*stale, strict=True)))

    def _piece(self, part: Any, features: Sequence[Tensor], mixture: dict[str, EdgeMixture]) -> "Piece":
        """The piece of a part."""
        weights = {name: each.weights for name, each in mixture.items()}
        if part.__self__ not in self._parameters:
            self._parameters[part.__self__] = list(part.__self__.parameters())
        parameters = self._parameters[part.__self__]
        # A step of ω has parameters to learn, a step of α the mixing weights.
        key = part, any(p.requires_grad for p in parameters), any(w.requires_grad for w in weights.values())
        if key not in self.pieces:
            learned = [p for p in parameters if p.requires_grad]
            self.pieces[key] = Piece(part, features, mixture, learned, self)
        return self.pieces[key]

    def memory_of(self, part: Any) -> "Memory":
        """What the pieces of a part take in turn."""
        if part not in self._memory:
            self._memory[part] = Memory(self.capture)
        return self._memory[part]

    def weights_of(self, branch: int, name: str, weights: Tensor) -> Tensor:
        """The buffer of a branch's mixing weights, of a step that gives them gradients or of one that does not."""
        key = branch, name, weights.requires_grad
        if key not in self._weights:
            self._weights[key] = _buffer(weights).requires_grad_(weights.requires_grad)
        return self._weights[key]


class Memory:
    """Of the pieces of one part, in a step of ω and in one of α: where their graphs work, and how often one ran.

    Forward and backward graphs have pools of their own: gradients outlive the next micro-batch's forward pass.
    """

    def __init__(self, capture: bool):
        self.runs = 0
        self.forward, self.backward = (torch.cuda.graph_pool_handle() if capture else None for _ in range(2))


class Piece:
    """One part of a branch with its buffers: ``inputs`` (features and weights), ``output``, ``grads``.

    A parameter's gradient is the buffer itself, until the piece runs again with it.
    """

    def __init__(self, part, features, mixture: dict[str, EdgeMixture], parameters: list[nn.Parameter], owner: Pieces):
        self.part, self.names, self.count = part, tuple(mixture), len(features)
        self.operations = {name: each.operations for name, each in mixture.items()}
        # Whether the stem or an earlier α is behind a feature depends on β, so its gradient is always taken.
        self.inputs = [_buffer(x).requires_grad_() for x in features]
        self.inputs += [owner.weights_of(part.__self__.index, name, each.weights) for name, each in mixture.items()]
        self.parameters, self.graphs = parameters, None
        self.memory, self.keep = owner.memory_of(part), owner.keep
        buffers = list(part.__self__.buffers())
        kept = [buffer.clone() for buffer in buffers]
        stream = torch.cuda.Stream() if owner.capture else None
        self._warm_up(WARM_UPS if owner.capture else 1, stream)
        if owner.capture:
            self._capture()
        if buffers:
            # Running statistics have not seen a batch yet; .data, since the branch's other part may have saved them.
            torch._foreach_copy_([buffer.data for buffer in buffers], kept)

    def forward(self) -> None:
        """From ``inputs`` to ``output``."""
        if self.graphs:
            self.graphs[0].replay()
            return
        self.result = None  # a graph runs in the memory of its last run
        self.result = self._run()
        self.output.copy_(self.result.detach())

    def backward(self) -> None:
        """From ``grad_output`` to ``grads``."""
        if self.graphs:
            self.graphs[1].replay()
            return
        for grad, found in zip(self.grads, self._differentiate(self.result, self.keep), strict=True):
            if grad is not None:
                grad.copy_(found)

    def give(self) -> list[Tensor | None]:
        """Run backward from ``grad_output``, add to the parameters' gradients, return the inputs'."""
        own = list(zip(self.parameters, self.grads[len(self.inputs) :], strict=True))
        for parameter, buffer in own:
            if parameter.grad is buffer:  # of an earlier micro-batch
                parameter.grad = buffer.clone()
        self.backward()
        for parameter, buffer in own:
            if parameter.grad is None:
                parameter.grad = buffer
            else:
                parameter.grad.add_(buffer)
        return self.grads[: len(self.inputs)]

    def _run(self) -> Tensor:
        features, weights = self.inputs[: self.count], self.inputs[self.count :]
        mixture = {
            name: EdgeMixture(weight, None, self.operations[name])
            for name, weight in zip(self.names, weights, strict=True)
        }
        device = self.inputs[0].device.type
        # Autocast's cache would keep a cast of the weights that no replay repeats.
        with torch.enable_grad(), torch.autocast(
            device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), cache_enabled=False
        ):  # fmt: skip
            return self.part(features, mixture)

    def _differentiate(self, result: Tensor, keep: bool = False) -> tuple[Tensor | None, ...]:
        wanted = [x for x in (*self.inputs, *self.parameters) if x.requires_grad]
        found = torch.autograd.grad(result, wanted, self.grad_output, retain_graph=keep, allow_unused=True)
        grads = iter(found)
        return tuple(_like(next(grads), x) if x.requires_grad else None for x in (*self.inputs, *self.parameters))

    def _warm_up(self, times: int, stream) -> None:
        """Run on another stream, so that what is compiled, tuned or allocated once is before a capture."""
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(times):
                result = self._run()
                self.output, self.grad_output = torch.empty_like(result.detach()), torch.zeros_like(result.detach())
                found = self._differentiate(result)
        if stream is not None:
            torch.cuda.current_stream().wait_stream(stream)
        used = found[len(self.inputs) :]
        self.parameters = [p for p, grad in zip(self.parameters, used, strict=True) if grad is not None]
        self.grads = [None if grad is None else torch.empty_like(grad) for grad in found[: len(self.inputs)]]
        self.grads += [torch.empty_like(grad) for grad in used if grad is not None]

    def _capture(self) -> None:
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Other threads may pin memory meanwhile.
        with torch.cuda.graph(forward, pool=self.memory.forward, capture_error_mode="thread_local"):
            result = self._run()
            self.output = result.detach()
        with torch.cuda.graph(backward, pool=self.memory.backward, capture_error_mode="thread_local"):
            self.grads = self._differentiate(result)
        self.graphs = forward, backward


class _Replay(torch.autograd.Function):
    """Pieces that read the same features (``together``) or each its own, as a node of the step's own graph."""

    @staticmethod
    def forward(ctx, pieces: list[Piece], together: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        if together:
            features = list(tensors[: pieces[0].count]) * len(pieces)
        else:
            features = list(tensors[: sum(piece.count for piece in pieces)])
        buffers = [buffer for piece in pieces for buffer in piece.inputs[: piece.count]]
        for buffer, tensor in zip(buffers, features, strict=True):
            if (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
                raise ValueError(
                    f"a piece of a step takes tensors {tuple(buffer.shape)} of {buffer.dtype}, not "
                    f"{tuple(tensor.shape)} of {tensor.dtype}: every batch must be like the first"
                )
        torch._foreach_copy_(buffers, features)
        for piece in pieces:
            piece.forward()
            piece.memory.runs += 1
        ctx.pieces, ctx.runs, ctx.count = pieces, [piece.memory.runs for piece in pieces], len(tensors)
        ctx.together = together
        ctx.set_materialize_grads(False)
        return tuple(piece.output.detach() for piece in pieces)

    @staticmethod
    def backward(ctx, *grads: Tensor | None):
        if ctx.runs != [piece.memory.runs for piece in ctx.pieces]:
            raise RuntimeError("a piece ran forward again before the backward pass of its last step")
        used = [(piece, grad) for piece, grad in zip(ctx.pieces, grads, strict=True) if grad is not None]
        torch._foreach_copy_([piece.grad_output for piece, _ in used], [grad for _, grad in used])
        # The buffers themselves: autograd copies what others hold before it keeps or adds to it.
        given = {piece: piece.give() for piece, _ in used}
        every = [given.get(piece, [None] * len(piece.inputs)) for piece in ctx.pieces]
        if ctx.together:
            of_features, *others = (found[: piece.count] for piece, found in given.items())
            for other in others:
                torch._foreach_add_(of_features, other)
        else:
            of_features = [
                each for piece, found in zip(ctx.pieces, every, strict=True) for each in found[: piece.count]
            ]
        of_weights = [each for piece, found in zip(ctx.pieces, every, strict=True) for each in found[piece.count :]]
        return None, None, *of_features, *of_weights, *[None] * (ctx.count - len(of_features) - len(of_weights))


def _like(grad: Tensor | None, tensor: Tensor) -> Tensor | None:
    """A gradient in the strides of its tensor, which an optimizer takes for granted."""
    if grad is None or grad.stride() == tensor.stride():
        return grad
    return torch.empty_like(tensor).copy_(grad)


def _buffer(tensor: Tensor) -> Tensor:
    """Memory of its own for tensors like this one, in its memory format."""
    return tensor.detach().clone()
