"""The packages that docs/extend.md tells one to write, made from its code blocks."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extend.md"


def blocks(language: str) -> list[str]:
    """The page's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def write_packages(root: Path) -> list[Path]:
    """Write every block that begins with ``# folder/file.py`` below ``root``."""
    written = []
    for block in blocks("python"):
        match = re.match(r"# (\S+\.py)\n", block)
        if match:
            path = root / match[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")
            written.append(path)
    return written
