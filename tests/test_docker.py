"""The image's recipe: what it copies exists and is let through, and it builds from what the project is made of."""

import re
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
STEPS = [line.split(None, 1) for line in LINES if line and not line.startswith("#")]


def copied():
    return [word for name, rest in STEPS if name == "COPY" for word in rest.split()[:-1]]


def test_every_instruction_is_one_of_dockers_in_an_order_that_builds():
    names = [name for name, _ in STEPS]
    assert set(names) <= {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    assert names[:3] == ["ARG", "FROM", "ARG"]  # an argument before FROM is not seen after it
    assert names.index("USER") > max(n for n, name in enumerate(names) if name in ("RUN", "COPY"))
    for name, rest in STEPS:
        if name == "RUN":
            assert len(re.findall(r"\bif \[", rest)) == len(re.findall(r"\bfi\b", rest)), rest


def test_what_is_copied_exists_and_is_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*" and set(copied()) == kept
    assert all((ROOT / name).exists() for name in kept)


def test_nothing_that_installing_needs_is_left_out():
    needed = {"setup.py", "pyproject.toml", "requirements.txt"} | set(re.findall(r'"([\w.]+\.md)"', metadata()))
    assert needed <= set(copied()) and {"autopose", "kernels", "configs"} <= set(copied())
    assert re.search("^torch==", (ROOT / "requirements.txt").read_text(), re.M)


def test_any_user_of_the_container_has_a_home_and_a_place_to_write():
    """``docker run --user`` names one without an entry in /etc/passwd, whose home is /."""
    assert ("ENV", "HOME=/tmp") in map(tuple, STEPS)
    made = next(rest for name, rest in STEPS if name == "RUN" and "install --directory" in rest)
    assert "--mode=1777 /runs /runs/outputs" in made and ["WORKDIR", "/runs"] in STEPS


def test_the_pinned_packages_are_those_that_pytorch_asks_for():
    """PyTorch with CUDA names one version of Triton; a pin of another cannot be installed beside it."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {found.name: found for found in map(Requirement, filter(lambda line: line[:1] not in ("", "#"), lines))}
    if version("torch").split("+")[0] not in pins["torch"].specifier:
        pytest.skip("another PyTorch than the pinned one is installed")
    for asked in map(Requirement, requires("torch")):
        if asked.name in pins and (asked.marker is None or asked.marker.evaluate({"extra": ""})):
            (pin,) = pins[asked.name].specifier
            assert pin.version in asked.specifier, f"PyTorch asks for {asked}"


def metadata():
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")
