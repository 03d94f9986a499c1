"""Packages: kernels/ and configs/ stand at the top level and install as autopose.kernels and autopose.configs.

Everything else about the distribution stands in pyproject.toml.
"""

from setuptools import find_packages, setup

packages = find_packages(
    include=["autopose", "autopose.*"],
    # Links that editors follow, see kernels/README.md.
    exclude=["autopose.kernels", "autopose.kernels.*", "autopose.configs"],
)
for folder in ("kernels", "configs"):
    packages += [f"autopose.{name}" for name in [folder, *(f"{folder}.{p}" for p in find_packages(folder))]]

setup(
    packages=packages,
    package_dir={"autopose.kernels": "kernels", "autopose.configs": "configs"},
    package_data={
        "autopose": ["py.typed"],
        "autopose.configs": ["*.yaml", "**/*.yaml"],
        "autopose.kernels": ["**/*.json"],
    },
)
