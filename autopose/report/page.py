"""A self-contained HTML page: no file beside it, no network, light and dark, from a phone's width on."""

import base64
import mimetypes
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from autopose.errors import UserError
from autopose.files import save

NUMBER = re.compile(r"-?[\d.]+(e[+-]?\d+)?|n/a|")
STYLE = """
:root { color-scheme: light dark; --ink: #22262c; --soft: #5f6772; --paper: #fbfbfc; --card: #ffffff; --line: #dfe2e7;
  --accent: #0b6e99; --bar: #7fb8d3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a2a9b4; --paper: #16181c; --card: #1f2227;
  --line: #363b43; --accent: #7cc4e8; --bar: #2f6d8c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 18px 60px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 10px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 22px 0 6px; }
p { margin: 6px 0 12px; overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 6px 0 12px; }
th, td { padding: 5px 14px 5px 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); font-size: .88rem; }
.number { text-align: right; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: 3px 18px; margin: 8px 0 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px;
  margin: 8px 0 14px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .86rem; }
figure { margin: 12px 0 20px; } figure img { max-width: 100%; height: auto; background: #fff; border-radius: 8px;
  border: 1px solid var(--line); display: block; }
.scroll img { max-width: max(100%, 720px); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0; }
.facts div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px; }
.facts b { display: block; font-size: 1.35rem; font-weight: 650; color: var(--accent); overflow-wrap: anywhere; }
.facts span { color: var(--soft); font-size: .84rem; }
.bars { display: grid; grid-template-columns: minmax(5rem, max-content) 1fr max-content; gap: 5px 12px;
  align-items: center; margin: 8px 0 14px; font-size: .92rem; }
.bars i { display: block; height: 12px; border-radius: 3px; background: var(--bar); min-width: 2px; }
"""


def heading(text: str) -> str:
    """A section's title."""
    return f"<h2>{escape(text)}</h2>"


def subheading(text: str) -> str:
    """A title inside of a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str, soft: bool = False) -> str:
    """Plain text."""
    return f"<p{' class=soft' if soft else ''}>{escape(text)}</p>"


def facts(values: Mapping[str, str]) -> str:
    """A few headline values, each with its name."""
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in values.items())
    return f'<div class="facts">{cells}</div>'


def definitions(values: Mapping[str, str]) -> str:
    """Names and their values, a line each."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in values.items()) + "</dl>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where it is too wide; columns of numbers alone are set to the right."""
    sides = [all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*rows, strict=True)] or [False] * len(
        header
    )

    def row(tag: str, cells: Sequence[str]) -> str:
        classes = [" class=number" if right else "" for right in sides]
        return "".join(f"<{tag}{side}>{escape(c)}</{tag}>" for side, c in zip(classes, cells, strict=True))

    body = "".join(f"<tr>{row('td', cells)}</tr>" for cells in rows)
    return f'<div class="scroll"><table><thead><tr>{row("th", header)}</tr></thead><tbody>{body}</tbody></table></div>'


def bars(values: Mapping[str, float], shown: Mapping[str, str], full: float | None = None) -> str:
    """Horizontal bars: lengths of ``values`` over ``full`` (their largest without it), each with its text."""
    most = full or max(values.values(), default=0.0) or 1.0
    cells = "".join(
        f"<span>{escape(name)}</span><span><i style='width:{100 * max(value, 0) / most:.1f}%'></i></span>"
        f"<span>{escape(shown[name])}</span>"
        for name, value in values.items()
    )
    return f'<div class="bars">{cells}</div>'


def command(text: str) -> str:
    """Something to paste into a shell."""
    return f"<pre><code>{escape(text)}</code></pre>"


def picture(path: Path, caption: str, figure: bool = True) -> str:
    """A file of a picture, embedded; UserError where it cannot be read.

    Args:
        figure: it holds small print: a narrow screen scrolls it instead of shrinking it.
    """
    try:
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise UserError(f"cannot read the picture {path}: {error.strerror or error}") from None
    text, kind = escape(caption), mimetypes.guess_type(path.name)[0] or "image/png"
    image = f'<img alt="{text}" src="data:{kind};base64,{data}">'
    shown = f'<div class="scroll">{image}</div>' if figure else image
    return f"<figure>{shown}<figcaption>{text}</figcaption></figure>"


def write_page(path: Path, title: str, parts: Sequence[str]) -> None:
    """Write the page atomically; UserError where the disk does not take it."""
    body = "\n".join(parts)
    save(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n",
    )
