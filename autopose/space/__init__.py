"""The search space as plain data (§3.1): operations, cells, macro architecture. No torch in here."""

from .architecture import Architecture
from .builtin import builtin_architecture
from .cell import CellSpace, Genotype
from .macro import MacroArchitecture, MacroSpace
from .ops import OPS, Operation, operation
from .search_space import SearchSpace

__all__ = ["OPS", "Architecture", "CellSpace", "Genotype", "MacroArchitecture", "MacroSpace"]
__all__ += ["Operation", "SearchSpace", "builtin_architecture", "operation"]
