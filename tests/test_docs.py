"""What the documents name exists: links, and anchors such as `path/to/file.py::Class.method`."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *SITE, *sorted((ROOT / "kernels").rglob("*.md"))]
ANCHOR = re.compile(r"([\w./-]+\.py)::([\w.]+)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def defined(path: Path) -> set[str]:
    """Qualified names of a file's functions, classes, methods and top-level variables."""
    found: set[str] = set()

    def walk(body: list, prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                found.add(prefix + node.name)
                walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    walk(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_anchors_name_what_exists(page):
    for path, name in ANCHOR.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), f"{page.name}: {path} is not there"
        assert name in defined(ROOT / path), f"{page.name}: {path} has no {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", SITE, ids=lambda page: page.name)
def test_links_of_the_site_stay_in_it(page):
    """The site is built from docs/ alone, and its strict build refuses a link to what it does not hold."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            assert (page.parent / target.split("#")[0]).resolve().is_relative_to(ROOT / "docs"), target


def test_the_walk_through_has_its_anchors():
    assert len(ANCHOR.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))) >= 20


def test_every_page_stands_in_the_sites_navigation():
    named = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:")[1]))
    assert named == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


@pytest.mark.parametrize("task", ["search", "train"])
def test_every_key_of_metrics_jsonl_is_documented(task, finished):
    import json

    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    section = page.split("## metrics.jsonl of a ")[1 if task == "search" else 2]
    documented = set(re.findall(r"`(\w+)`", section))
    rows = [json.loads(line) for line in (finished[task][0] / "metrics.jsonl").read_text().splitlines()]
    assert rows and set().union(*rows) <= documented
    board = list((finished[task][0] / "tb").iterdir())
    assert any(b"alpha" in file.read_bytes() or b"predictions" in file.read_bytes() for file in board)
