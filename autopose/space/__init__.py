"""The search space as plain data (§3.1): operations, cells, macro architecture. No torch in here."""

from .architecture import Architecture, builtin_architecture
from .cell import CellSpace, Genotype
from .macro import MacroArchitecture, MacroSpace
from .ops import OPS
from .search_space import SearchSpace

__all__ = ["OPS", "Architecture", "CellSpace", "Genotype", "MacroArchitecture", "MacroSpace", "SearchSpace"]
__all__ += ["builtin_architecture"]
