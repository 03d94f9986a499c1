"""Names of the configuration as objects: an explicit table, and a dotted path for what stands outside.

A dotted path is ``package.module:Name``; importing that module is all that happens, nothing registers itself.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from autopose.errors import UserError


def lookup(name: str, table: Mapping[str, Any], what: str) -> Any:
    """The entry of ``table`` called ``name``, or the object that the dotted path ``name`` leads to.

    Args:
        what: the thing looked up, for the error's sentence ("operation").

    Raises:
        UserError: neither; it names the table's entries, or what is missing on the path.
    """
    if name in table:
        return table[name]
    if not isinstance(name, str) or ":" not in name:
        raise UserError(
            f"{what} must be one of {', '.join(table)}, or a dotted path like my_package.my_module:Name, not {name!r}"
        )
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{what} {name!r} cannot be imported: there is no module {error.name!r}; is its folder on PYTHONPATH?"
        ) from None
    except (ImportError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"{what} {name!r} cannot be imported: {str(error).splitlines()[0][:160]}") from None
    if not hasattr(module, attribute):
        raise UserError(f"{what} {name!r} cannot be used: the module {module_name!r} has no {attribute!r}")
    return getattr(module, attribute)


def nearest(name: str, known: Iterable[str]) -> str:
    """What a mistyped name was probably meant to be, else what there is; the end of a sentence."""
    names = list(known)
    close = get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(names)}"
