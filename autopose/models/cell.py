"""One cell for supernets and derived networks: N images, C channels, E edges, K operations, H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autopose import kernels
from autopose.errors import UserError
from autopose.space import OPS, CellSpace

from .foreign import foreign_module
from .norm import BatchNorm2d, NormState

NUM_OPS, NUM_NORMS = len(OPS), 5
Pair = tuple[int, int]


@dataclass(frozen=True)
class EdgeMixture:
    """How the edges of one cell mix their operations (Eq. 4).

    Args:
        weights: (E, K) mixing weights; gradients flow through them into α.
        chosen: the column of the one operation to evaluate on every edge, None to evaluate all candidates.
        operations: names of the K columns.
    """

    weights: Tensor
    chosen: tuple[int, ...] | None = None
    operations: tuple[str, ...] = OPS


class Cell(nn.Module):
    """A directed acyclic graph of mixed edges, its nodes concatenated and compressed by ReLU-1x1 conv-BN (§3.1.2).

    Weights of built-in operations are stacked. Where every edge has all six, ``conv1`` (E, C, C, 1, 1), ``conv3`` (E,
    C, C, 3, 3), ``conv5`` (E, C, C, 5, 5) and statistics (E, 5, C) stand by edge, and the fused mixed edge runs them.
    Else they stand by pair (edge, operation) of ``rows``, only what the candidates need, and statistics (rows, C): a
    derived network, or a space of fewer operations, whose pairs run as single edges weighed by the mixture. Operations
    of other packages are modules of their own (``foreign``), added node by node.

    Args:
        space: inputs, nodes and candidates.
        channels: C of every input, node and of the output.
        affine: learnable scale and shift in batch normalisation.
        state: shared state of batch normalisation.
        choice: implementations of the kernels.
    """

    def __init__(self, space: CellSpace, channels: int, affine: bool, state: NormState, choice: kernels.KernelChoice):
        super().__init__()
        self.space, self.state, self.choice = space, state, choice
        edges, builtin = space.num_edges, [[op for op in names if op in OPS] for names in space.candidates]
        self.has_choice = space.genotype is None
        self.is_full = all(len(names) == NUM_OPS for names in builtin)
        self.rows = tuple((edge, OPS.index(op)) for edge, names in enumerate(builtin) for op in names)
        kinds = [[pair for pair in self.rows if pair[1] == kind] for kind in range(NUM_OPS)]
        # Rows of a pair in its stacked convolution, and in the flat statistics.
        self._conv_row = {pair: row for pairs in kinds for row, pair in enumerate(pairs)}
        if self.is_full:
            self._norm_row = {(edge, op): edge * NUM_NORMS + min(op, NUM_NORMS - 1) for edge, op in self.rows}
        else:
            self._norm_row = {pair: row for row, pair in enumerate(self.rows)}
        for op, size in enumerate((1, 3, 5)):
            count = len(kinds[op])
            weight = nn.Parameter(torch.empty(count, channels, channels, size, size)) if count else None
            self.register_parameter(f"conv{size}", weight)
            for row in () if weight is None else weight:
                nn.init.kaiming_uniform_(row, a=5**0.5)
        shape = (edges, NUM_NORMS, channels) if self.is_full else (len(self.rows), channels)
        self.norm_weight = nn.Parameter(torch.ones(shape)) if affine and self.rows else None
        self.norm_bias = nn.Parameter(torch.zeros(shape)) if affine and self.rows else None
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))
        self.foreign = nn.ModuleDict(
            {
                _key(edge, op): foreign_module(op, channels, affine, state)
                for edge, names in enumerate(space.candidates)
                for op in names
                if op not in OPS
            }
        )
        self.compress = nn.Conv2d(space.num_nodes * channels, channels, 1, bias=False)
        self.compress_norm = BatchNorm2d(channels, state, affine)

    def forward(self, inputs: Sequence[Tensor], mixture: EdgeMixture | None = None) -> Tensor:
        """Map ``num_inputs`` tensors (N, C, H, W) to one; ``mixture`` is needed where edges have a choice."""
        if not self.has_choice:
            mixture = None
        elif mixture is None:
            raise ValueError("a cell of the supernet needs the mixing weights of its edges")
        if not self.foreign and self._mixes(mixture):
            return self._mixed(inputs, mixture)
        if not self.foreign and (self.is_full or not self.has_choice):
            nodes = self._builtin(inputs, self.space.num_nodes, range(self.space.num_edges), mixture)
        else:
            nodes = self._node_by_node(inputs, mixture)
        return self.compress_norm(self.compress(torch.relu(torch.cat(nodes, 1))))

    def _mixes(self, mixture: EdgeMixture | None) -> bool:
        """Whether the mixed edge runs all six built-in operations of every edge."""
        return self.is_full and mixture is not None and mixture.chosen is None

    def _mixed(self, inputs: Sequence[Tensor], mixture: EdgeMixture) -> Tensor:
        """The whole cell at once, where `_mixes`."""
        norm = self.compress_norm
        tracked = self.state.updates or not self.state.training
        running = (norm.running_mean, norm.running_var) if tracked else (None, None)
        compression = kernels.Compression(self.compress.weight, norm.weight, norm.bias, *running)
        return kernels.mixed_cell(
            inputs, self.space.num_nodes, self.conv1, self.conv3, self.conv5, _builtin_columns(mixture), compression,
            implementation=self.choice.mixed_edge, **self._norm(), **self._norm_options(),
        )  # fmt: skip

    def _node_by_node(self, inputs: Sequence[Tensor], mixture: EdgeMixture | None) -> list[Tensor]:
        """Every node's built-in operations at once, then its foreign ones, edge by edge."""
        states, first = list(inputs), 0
        for _ in range(self.space.num_nodes):
            edges = range(first, first + len(states))
            parts = self._builtin(states, 1, edges, mixture)
            for edge, x in zip(edges, tuple(states), strict=True):
                parts += self._foreign(x, edge, mixture)
            states.append(sum(parts[1:], parts[0]))
            first = edges.stop
        return states[len(inputs) :]

    def _builtin(
        self, inputs: Sequence[Tensor], num_nodes: int, edges: range, mixture: EdgeMixture | None
    ) -> list[Tensor]:
        """Nodes from the built-in operations of consecutive edges; none where those edges have none."""
        if self._mixes(mixture):
            cut = slice(edges.start, edges.stop)
            convs = [weight[cut] for weight in (self.conv1, self.conv3, self.conv5)]
            norm = {name: None if t is None else t[cut] for name, t in self._norm().items()}
            return kernels.mixed_edges(
                inputs, num_nodes, *convs, _builtin_columns(mixture)[cut], implementation=self.choice.mixed_edge,
                **norm, **self._norm_options(),
            )  # fmt: skip
        pairs = [pair for pair in self.rows if pair[0] in edges and (mixture is None or _runs(pair, mixture))]
        if not pairs:
            return []
        if num_nodes == 1:
            inputs = [inputs[edge - edges.start] for edge, _ in pairs]
        mix = None
        if mixture is not None:
            columns = [mixture.operations.index(OPS[op]) for _, op in pairs]
            rows, columns = _indices(([edge for edge, _ in pairs], columns), mixture.weights.device)
            mix = mixture.weights[rows, columns]
        return self._single(inputs, num_nodes, pairs, mix)

    def _single(self, inputs, num_nodes: int, pairs: Sequence[Pair], mix: Tensor | None) -> list[Tensor]:
        """One built-in operation a pair; node 0 reads one input a pair where there is one node."""
        whole, norm = tuple(pairs) == self.rows and not self.is_full, self._norm()
        convs, ops = (self.conv1, self.conv3, self.conv5), tuple(op for _, op in pairs)
        if not whole:
            *rows, norms, used, normed = self._places(pairs)
            convs = [weight[r] if len(r) else None for weight, r in zip(convs, rows, strict=True)]
            norm = {name: None if t is None else t.flatten(0, -2)[norms] for name, t in norm.items()}
        nodes = kernels.single_edges(
            inputs, num_nodes, ops, *convs, mix,
            implementation=self.choice.single_edge, **norm, **self._norm_options(),
        )  # fmt: skip
        if not whole and self.state.updates:
            with torch.no_grad():
                for name in ("running_mean", "running_var"):
                    getattr(self, name).flatten(0, -2)[normed] = norm[name][used]
        return nodes

    def _foreign(self, x: Tensor, edge: int, mixture: EdgeMixture | None) -> list[Tensor]:
        found = []
        for op in self.space.candidates[edge]:
            column = 0 if mixture is None or op in OPS else mixture.operations.index(op)
            if op in OPS or (mixture is not None and mixture.chosen is not None and mixture.chosen[edge] != column):
                continue
            y = self.foreign[_key(edge, op)](x)
            if y.shape != x.shape:
                raise UserError(f"operation {op!r} must keep its input's shape {tuple(x.shape)}, not {tuple(y.shape)}")
            found.append(y if mixture is None else y * mixture.weights[edge, column])
        return found

    def rows_of(self, name: str, pairs: Sequence[Pair]) -> Tensor:
        """Rows of the stacked tensor ``name`` ("conv3", "running_mean", …) that the pairs (edge, operation) use."""
        *rows, norms, _, _ = self._places(pairs)
        tensor = getattr(self, name)
        return tensor[rows["135".index(name[-1])]] if name.startswith("conv") else tensor.flatten(0, -2)[norms]

    def _places(self, pairs: Sequence[Pair]) -> tuple[Tensor, ...]:
        """Rows of the three convolutions and of the flat statistics; which pairs are normalised, and those' rows."""
        rows = [[self._conv_row[pair] for pair in pairs if pair[1] == kind] for kind in range(3)]
        norms = [self._norm_row[pair] for pair in pairs]
        used = [i for i, (_, op) in enumerate(pairs) if op < NUM_NORMS]
        return _indices((*rows, norms, used, [norms[i] for i in used]), self.running_mean.device)

    def _norm(self) -> dict[str, Tensor | None]:
        tracked = self.state.updates or not self.state.training
        return {
            "norm_weight": self.norm_weight,
            "norm_bias": self.norm_bias,
            "running_mean": self.running_mean if tracked else None,
            "running_var": self.running_var if tracked else None,
        }

    def _norm_options(self) -> dict:
        state = self.state
        return {"training": state.training, "momentum": state.momentum, "process_group": state.process_group}

    def execution(self) -> str:
        """How the edges run, for the log."""
        if self.is_full and self.has_choice:
            builtin = "all six built-in operations by the mixed_edge kernel"
        else:
            builtin = "built-in operations one by one by the single_edge kernel" if self.rows else ""
        names = dict.fromkeys(op for names in self.space.candidates for op in names if op not in OPS)
        foreign = f"{', '.join(names)} by their own modules" if names else ""
        whole = not self.foreign and (self.is_full or not self.has_choice)
        return " and ".join(filter(None, (builtin, foreign))) + (", a cell at once" if whole else ", node by node")


def _builtin_columns(mixture: EdgeMixture) -> Tensor:
    """The mixing weights of the six built-in operations, which stand first."""
    weights = mixture.weights
    return weights if len(mixture.operations) == NUM_OPS else weights[:, :NUM_OPS].contiguous()


def _key(edge: int, op: str) -> str:
    """A name without . and : for the module of a foreign operation, the same in a supernet and in a derived network."""
    return f"{edge}_{op.replace('.', '-').replace(':', '-')}"


def _runs(pair: Pair, mixture: EdgeMixture) -> bool:
    edge, op = pair
    return mixture.chosen is None or mixture.operations[mixture.chosen[edge]] == OPS[op]


def _indices(lists: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, ...]:
    """Lists as index tensors, by one copy to the device that the host does not wait for."""
    flat = torch.tensor([i for part in lists for i in part], dtype=torch.long, pin_memory=device.type == "cuda")
    return flat.to(device, non_blocking=True).split([len(part) for part in lists])
