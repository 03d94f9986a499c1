"""A benchmark of trained architectures: what to train, who trains it, and the table that is left.

from autopose.pool import Table
table = Table.load("bench/results/pool.json")
entry = table.query(architecture)
"""

from .table import Entry, Table

__all__ = ["Entry", "Table"]
