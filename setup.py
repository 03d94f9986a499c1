"""Packaging: kernels/ and configs/ stand at the top level and install as autopose.kernels and autopose.configs."""

from pathlib import Path

from setuptools import find_packages, setup

packages = find_packages(include=["autopose", "autopose.*"])
for folder in ("kernels", "configs"):
    packages += [f"autopose.{name}" for name in [folder, *(f"{folder}.{p}" for p in find_packages(folder))]]

setup(
    name="autopose",
    version="0.1.0",
    description="Neural architecture search of multi-scale branch aggregation for 2D human pose estimation",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=packages,
    package_dir={"autopose.kernels": "kernels", "autopose.configs": "configs"},
    package_data={"autopose.configs": ["*.yaml", "**/*.yaml"], "autopose.kernels": ["**/*.json"]},
    install_requires=[
        "torch>=2.6",
        'triton>=3.2; platform_system == "Linux"',
        "numpy>=1.26",
        "scipy>=1.11",
        "pycocotools>=2.0.7",
        "opencv-python-headless>=4.8",
        "hydra-core>=1.3,<1.4",
        "fvcore>=0.1.5.post20221221",
        "matplotlib>=3.8",
        "tensorboard>=2.15",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": ["pytest>=8", "pytest-benchmark>=4", "pytest-timeout>=2.2", "ruff>=0.6"],
        "slurm": ["hydra-submitit-launcher>=1.2"],
    },
)
