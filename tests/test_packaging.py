"""The wheel holds every module and every configuration; a checkout works uninstalled."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("autopose", "kernels", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_all_that_the_checkout_holds(wheel):
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "autopose").rglob("*.py")}
    for name, kinds in (("kernels", ("*.py", "*.json")), ("configs", ("*.py", "*.yaml"))):
        found = (path for kind in kinds for path in (ROOT / name).rglob(kind))
        expected |= {f"autopose/{path.relative_to(ROOT)}" for path in found}
    expected.add("autopose/py.typed")
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


def test_an_unpacked_wheel_and_a_bare_checkout_run(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import autopose, autopose.kernels._triton.launch as launch, autopose.configs; "
        "print(autopose.__file__, bool(launch.tile_table()))"
    )
    for path in (tmp_path / "site", ROOT):
        shown = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(path)}, capture_output=True, text=True
        )
        assert shown.stdout.split() == [str(path / "autopose" / "__init__.py"), "True"], shown.stderr


def test_kernels_refuse_to_be_a_top_level_package():
    shown = subprocess.run([sys.executable, "-c", "import kernels"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode and "autopose.kernels" in shown.stderr
