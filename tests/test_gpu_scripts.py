"""The scripts for a machine with a GPU, rehearsed with a stand-in for Python: order, limits, faults, what lacks."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
case "$*" in
    *"-c import "*) for name in $LACKS; do [[ "$*" == *"import $name" ]] && exit 1; done ;;
esac
[[ "$*" == *"torch.cuda.get_device_name().lower"* ]] && echo "$CARD"
for part in $HANGS; do [[ "$*" == *"$part"* ]] && sleep 60; done
for part in $CRASHES; do [[ "$*" == *"$part"* ]] && exit 139; done
for part in $WRONG; do [[ "$*" == *"$part"* ]] && exit 1; done
[[ "$AUTOPOSE_POINTWISE" == stored ]] || for part in $WRONG_ANEW; do [[ "$*" == *"$part"* ]] && exit 1; done
exit 0
"""


@pytest.fixture
def run(tmp_path):
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)

    def run(script, **said):
        given = {
            "LACKS": "",
            "CARD": "",
            "HANGS": "",
            "CRASHES": "",
            "WRONG": "",
            "WRONG_ANEW": "",
            "AUTOPOSE_POINTWISE": "",
            "AUTOPOSE_TEST_DATA": "",
            "WHEELS": str(tmp_path / "none"),
            **said,
        }
        environment = {**os.environ, "PYTHON": str(stand_in), "OUT": str(tmp_path / "out"), **given,
                       "CALLS": str(tmp_path / "calls")}  # fmt: skip
        done = subprocess.run(["bash", f"bench/{script}.sh"], cwd=ROOT, env=environment, capture_output=True, text=True)
        with (tmp_path / "out" / f"{script}.csv").open() as file:
            parts = {row["part"]: row["exit_code"] for row in csv.DictReader(file)}
        return done, parts, (tmp_path / "calls").read_text()

    return run


def test_what_matters_most_comes_first(run, tmp_path):
    done, parts, calls = run("gpu")
    assert done.returncode == 0, done.stderr
    ways = [f"iteration 1x1 {way}" for way in ("stored", "made")]
    assert [*parts] == ["ceilings", "correct", "graphs", "iteration", "tests", "kernels", *ways, "tune"]
    assert set(parts.values()) == {"0"}
    assert "--providers fused fused pieces reference fused graph rewrite graph" in calls and "-n 12" in calls
    assert len(list((tmp_path / "out").iterdir())) <= 8


def test_the_model_is_of_the_card(run):
    for card, model in (("nvidiah200", "h200"), ("nvidiaa100-sxm4-80gb", "a100"), ("", "h100")):
        assert f"bench.iteration --model {model} " in run("gpu", CARD=card)[2]
    assert "bench.iteration --model rtx4090 " in run("gpu", CARD="nvidiah200", MODEL="rtx4090")[2]


def test_a_part_that_crashes_or_lacks_a_package_leaves_the_others(run):
    done, parts, calls = run("gpu", CRASHES="bench.iteration", LACKS="pytest_benchmark xdist")
    assert done.returncode == 1 and parts["iteration"] == "139" and parts["tune"] == parts["kernels"] == "0"
    assert "-n 12" not in calls and "--benchmark-only" not in calls


def test_a_part_that_hangs_ends_in_time_and_what_comes_after_is_said(run):
    done, parts, _ = run("gpu", HANGS="bench.tune", TOTAL_S="3")
    assert done.returncode == 1 and parts["tune"] == "124" and parts["iteration"] == "0"


def test_tuning_knows_how_much_time_is_left(run):
    for total, seconds in (("520", 110), ("90", 80)):
        calls = run("gpu", TOTAL_S=total)[2]
        given = int(re.search(r"bench.tune --seconds (\d+)", calls.splitlines()[-1])[1])
        assert seconds - 8 <= given <= seconds


def test_a_test_that_fails_of_what_is_not_timed_ends_nothing(run):
    done, parts, _ = run("gpu", WRONG="--tb=short")
    assert done.returncode == 1 and parts["correct"] == parts["iteration"] == parts["tune"] == "0"
    assert parts["tests"] == parts["graphs"] == "1" and "caution: steps as graphs were not found right" in done.stdout


def test_wrong_kernels_are_not_timed_and_no_gpu_is_one_sentence(run):
    done, parts, calls = run("gpu", WRONG="pytest")
    assert done.returncode == 1 and "the kernels are wrong here" in done.stderr
    assert "iteration" not in parts and "bench.iteration" not in calls
    done, parts, _ = run("gpu", WRONG="torch,")
    assert done.returncode == 2 and done.stderr == "error: needs torch, triton and a GPU\n" and not parts


def test_where_the_1x1_made_anew_is_wrong_it_is_stored_from_there_on(run):
    done, parts, calls = run("gpu", WRONG_ANEW="test_paper_shapes")
    assert done.returncode == 1 and "caution: wrong with the 1x1 convolutions made anew" in done.stdout
    assert parts["correct"] == parts["iteration"] == parts["tune"] == "0" and calls.count("test_paper_shapes") == 2


def test_the_second_run(run):
    done, parts, calls = run("gpu2", AUTOPOSE_TEST_DATA="/data")
    assert done.returncode == 0 and [p for p in parts if p[3:] != "check"] == ["compiled", "tests", "search"]
    assert "--maxfail=3" in calls and "data.root=/data/lsp" in calls
    done, parts, _ = run("gpu2", AUTOPOSE_TEST_DATA="/data", LACKS="hydra")
    assert "search" not in parts and "hydra is not here" in done.stdout


def test_wheels_are_installed_first_and_none_that_fails_ends_the_run(run, tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "hydra_core-1-py3-none-any.whl").touch()
    done, parts, calls = run("gpu", WHEELS=str(tmp_path / "wheels"))
    assert done.returncode == 0 and calls.startswith("-m pip install -q --no-index --no-deps")
    assert "hydra_core-1-py3-none-any.whl" in calls.splitlines()[0]
    done, parts, _ = run("gpu", WHEELS=str(tmp_path / "wheels"), CRASHES="pip")
    assert "caution: not all wheels" in done.stdout and parts["iteration"] == "0"


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hydra", "omegaconf", "pycocotools", "fvcore", "optuna", "scipy", "pytest_benchmark"):
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
from bench.iteration import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_iteration_needs_few_packages_and_writes_what_it_knows(tmp_path):
    path = tmp_path / "iteration.csv"
    words = ["--space", "small", "--batch", "1", "--seconds", "0", "--model", "h200", "--output", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WITHOUT, *words, "--only", "fused"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    late = [sys.executable, "-m", "bench.iteration", *words, "--providers", "fused graph", "--limit", "0.1"]
    assert subprocess.run(late, cwd=ROOT, env=environment, check=False, capture_output=True).returncode == 1
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["beta"], row["what"]) for row in rows[:5]] == [
        ("all on", "iteration"), ("all on", "passes"), ("half on", "iteration"), ("half on", "passes"),
        ("random", "iteration"),
    ]  # fmt: skip
    assert all(float(row["p50_ms"]) > 0 for row in rows[:5]) and float(rows[0]["predicted_ms"]) > 0
    assert rows[5]["status"] == "not done after 0.1 s"


BARE = """
import sys
for name in ("hydra", "omegaconf", "pycocotools", "fvcore", "optuna", "scipy", "pytest_benchmark", "pytest_timeout"):
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def bare(*words, **said):
    """pytest as on a machine that has none of its plugins, and little else."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BARE, "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment | said, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_what_the_scripts_test_is_found_on_a_bare_machine():
    bare("--collect-only", "tests/kernels", "tests/models", "tests/nas")


def test_kernels_are_timed_without_pytest_benchmark(tmp_path):
    bare("bench/test_kernels.py", "-k", "resample_sum-3-forward", OUT=str(tmp_path), CUDA_VISIBLE_DEVICES="")
    with (tmp_path / "cpu.csv").open() as file:
        rows = {row["provider"]: row for row in csv.DictReader(file)}
    assert rows["fused"]["status"] == "timed" and float(rows["fused"]["p50_ms"]) > 0


def test_kernels_that_could_not_be_checked_are_timed_with_a_caution(run):
    done, parts, _ = run("gpu", CRASHES="test_mixed_edge_triton")
    assert done.returncode == 1 and parts["correct"] == "139" and parts["iteration"] == "0"
    assert "caution: the kernels were not checked to the end (exit code 139)" in done.stdout
