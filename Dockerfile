# CPU:   docker build -t autopose .
# CUDA:  docker build -t autopose:cuda --build-arg VARIANT=cuda .
# Run:   mkdir -p outputs
#        docker run --rm --shm-size=2g --user "$(id -u):$(id -g)" -v "$PWD/outputs:/runs/outputs" autopose search experiment=quick
#        with a GPU add --gpus all and take the CUDA image. Without --user files are written as user 1000.
ARG VARIANT=cpu
FROM python:3.11-slim-bookworm

ARG VARIANT
# The compiler is Triton's: it builds a kernel's launcher on first use.
RUN if [ "$VARIANT" = cuda ]; then \
      apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; \
    elif [ "$VARIANT" != cpu ]; then echo "VARIANT must be cpu or cuda, not $VARIANT" >&2; exit 2; fi

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /opt/autopose
COPY requirements.txt ./
# PyTorch's wheels of PyPI bring CUDA along; those for processors have an index of their own, and need no Triton (0.7 GB).
# What tests and checks the code is left out.
RUN sed -i -E '/^(pytest|ruff|mypy)/d' requirements.txt \
    && if [ "$VARIANT" = cpu ]; then \
      sed -i '/^triton/d' requirements.txt \
      && pip install --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' requirements.txt)"; \
    fi && pip install -r requirements.txt

COPY setup.py pyproject.toml README.md LICENSE ./
COPY autopose autopose
COPY kernels kernels
COPY configs configs
COPY examples examples
RUN pip install --no-deps --no-build-isolation .

# Whoever --user names can write there; Triton and Matplotlib keep caches at home.
RUN useradd --uid 1000 pose && install --directory --mode=1777 /runs /runs/outputs
ENV HOME=/tmp
USER pose
WORKDIR /runs
ENTRYPOINT ["autopose"]
CMD ["--help"]
