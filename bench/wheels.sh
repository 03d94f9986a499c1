#!/usr/bin/env bash
# Fills .whl/, which bench/gpu.sh and bench/gpu2.sh install from, for a Linux machine without a network that has torch,
# triton, numpy, opencv, matplotlib and pytest: what a search needs beyond these, and pytest's plugins. Run it where there
# is a network; it needs pip and no more. Another Python than 3.12: TARGET=3.11 bash bench/wheels.sh
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
rm -rf .whl
# Without binaries of their own, and partly without wheels on the index: built here, for any Python.
"$python" -m pip wheel -q --no-deps -w .whl "hydra-core>=1.3,<1.4" "omegaconf>=2.2,<2.4" "antlr4-python3-runtime==4.9.3" \
    fvcore iopath yacs portalocker termcolor tabulate tqdm tensorboard absl-py markdown werkzeug \
    pytest-benchmark py-cpuinfo pytest-timeout pytest-xdist execnet
# With binaries: those of the other machine.
"$python" -m pip download -q --no-deps -d .whl --only-binary=:all: --python-version "${TARGET:-3.12}" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    pycocotools pyyaml scipy grpcio protobuf markupsafe tensorboard-data-server
du -sh .whl
