"""Dependencies point one way, and what trains needs neither Hydra nor the dataset's libraries."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "space",
    "models",
    "nas",
    "data",
    "metrics",
    "config",
    "runs",
    "evaluation",
    "report",
    "prediction",
    "deploy",
    "engine",
    "pool",
)
FOLDERS = {name: ROOT / "autopose" / name for name in ROOMS}
FOLDERS["kernels"] = ROOT / "kernels"
# What each layer may import of autopose, besides itself and autopose.errors.
MAY_IMPORT = {
    "space": set(),
    "kernels": set(),
    "metrics": set(),
    "data": set(),
    "models": {"space", "kernels"},
    "nas": {"models", "space"},
    "config": {"configs", "data", "nas", "space", "kernels"},
    "runs": {"models", "data", "nas", "space", "kernels", "config"},
    "evaluation": {"models", "data", "metrics", "config", "runs"},
    "report": {"models", "data", "metrics", "nas", "space", "config", "evaluation", "runs"},
    "prediction": {"data", "metrics", "config", "evaluation", "report", "runs"},
    "deploy": {"models", "data", "space", "kernels", "config", "runs"},
    "engine": {"models", "data", "metrics", "nas", "space", "kernels", "config", "runs", "evaluation", "report"},
    "pool": {"nas", "space", "config", "runs", "evaluation", "engine"},
}
# Libraries that a layer may import, where they are restricted.
LIBRARIES = {
    "space": set(),
    "kernels": {"torch", "triton", "numpy"},
    "metrics": {"numpy", "pycocotools", "scipy"},
    "models": {"torch"},
    "nas": {"torch"},
    "data": {"numpy", "scipy", "cv2", "torch", "tqdm", "yaml"},
}
BLOCKED = ("hydra", "omegaconf", "pycocotools", "fvcore", "cv2", "matplotlib")


def imported(path: Path, package: str) -> set[str]:
    """Absolute names of every import in a file of ``package`` ("autopose.space")."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1] if node.level else [])
            module = ".".join(part for part in (base, node.module) if part)
            if module == "autopose":
                found |= {f"autopose.{alias.name}" for alias in node.names}
            else:
                found.add(module)
    return found


def files(layer: str) -> list[tuple[Path, set[str]]]:
    folder = FOLDERS[layer]
    found = []
    for path in sorted(folder.rglob("*.py")):
        if path.name == "__main__.py":  # an entry point
            continue
        inner = path.parent.relative_to(folder).parts
        found.append((path, imported(path, ".".join(("autopose", layer, *inner)))))
    assert found
    return found


@pytest.mark.parametrize("layer", FOLDERS)
def test_layers_import_downwards_only(layer):
    for path, names in files(layer):
        own = {name.split(".")[1] for name in names if name.startswith("autopose.")}
        assert own <= MAY_IMPORT[layer] | {
            layer,
            "__version__",
            "errors",
            "files",
            "lookup",
            "progress",
            "ranges",
            "stdout",
        }, f"{path} imports {own}"
        assert "autopose" not in names


@pytest.mark.parametrize("layer", LIBRARIES)
def test_layers_use_their_libraries_only(layer):
    for path, names in files(layer):
        outside = {name.split(".")[0] for name in names} - {"autopose"} - set(sys.stdlib_module_names)
        assert outside <= LIBRARIES[layer], f"{path} imports {outside}"


def test_only_the_entry_layer_sees_hydra():
    for path in (ROOT / "autopose").rglob("*.py"):
        names = {name.split(".")[0] for name in imported(path, "autopose")}
        if path.parent.name != "config" and path.name != "command.py":
            assert not names & {"hydra", "omegaconf"}, path


def test_networks_and_search_run_without_the_other_libraries():
    program = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import torch
import autopose.kernels, autopose.models, autopose.nas, autopose.space
from autopose.models import PoseNetwork
from autopose.space import MacroSpace, builtin_architecture
network = PoseNetwork(builtin_architecture("random", MacroSpace((4, 4), 1, 1, 1, 1, 4)).space(), 3)
print(tuple(network(torch.randn(2, 3, 16, 16)).shape))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(2, 3, 4, 4)"


def test_a_command_starts_without_pytorchs_compiler():
    """Its import takes longer than all of ours; the mark that saves it is the one that PyTorch sets."""
    program = """
import sys
import autopose.command, autopose.data.__main__, autopose.engine.search, autopose.prediction.predictor
from autopose.kernels.dispatch import constant
assert not {"torch._dynamo", "sympy"} & set(sys.modules)
import torch
assert vars(constant(lambda: 0)) == vars(torch.compiler.assume_constant_result(lambda: 0)) != {}
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bare_kernels_refuse_to_be_imported():
    done = subprocess.run([sys.executable, "-c", "import kernels"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "from autopose import kernels" in done.stderr
