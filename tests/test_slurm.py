"""The Slurm launcher composes, and sweeps keep every setting of it that the plugin knows."""

from importlib.util import find_spec

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore

import autopose.config  # noqa: F401

KEYS = {
    "_target_": "plugin", "timeout_min": 60, "nodes": 1, "tasks_per_node": 1, "gpus_per_node": None, "mem_gb": None,
    "cpus_per_task": None, "partition": None, "signal_delay_s": 120, "max_num_timeout": 0, "array_parallelism": 256,
}  # fmt: skip


@pytest.mark.parametrize("task", ["search", "train"])
def test_launcher_composes(task):
    if find_spec("hydra_plugins.hydra_submitit_launcher" if find_spec("hydra_plugins") else "hydra_plugins") is None:
        ConfigStore.instance().store(group="hydra/launcher", name="submitit_slurm", node=KEYS)
    with initialize_config_module("autopose.configs", version_base="1.3"):
        found = compose(
            task, ["hydra/launcher=autopose_slurm", "hydra.launcher.partition=gpu"], return_hydra_config=True
        ).hydra.launcher
    assert found.max_num_timeout > 0
    assert (found.partition, found.nodes, found.tasks_per_node) == ("gpu", 1, 1)
    assert set(KEYS) <= set(found)
