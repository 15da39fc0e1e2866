# docker build -t qsmprep .                                  CPU
# docker build -t qsmprep --build-arg TORCH_BACKEND=cu130 .  NVIDIA GPUs
ARG BASE_IMAGE=python:3.11-slim-trixie
ARG BUILD_IMAGE=${BASE_IMAGE}

FROM ${BUILD_IMAGE} AS build
# Empty: whatever build of torch the package index has.
ARG TORCH_BACKEND=cpu
ARG VERSION=0.1.dev0
RUN python -m venv /opt/qsmprep && python -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir uv==0.13.*
WORKDIR /src
COPY constraints.txt pyproject.toml setup.cfg README.md LICENSE ./
COPY qsmprep qsmprep
COPY workflows workflows
COPY .ci/components.py .ci/components.py
RUN SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}" /opt/uv/bin/uv pip install --no-cache --python /opt/qsmprep/bin/python \
        ${TORCH_BACKEND:+--torch-backend "${TORCH_BACKEND}"} --constraint constraints.txt . \
    && /opt/qsmprep/bin/python .ci/components.py \
        /opt/qsmprep/components.json /opt/qsmprep/LICENCES.md \
    && find /opt/qsmprep -name tests -type d -prune -exec rm -rf {} + \
    && find /opt/qsmprep -name '__pycache__' -type d -prune -exec rm -rf {} +

FROM ${BASE_IMAGE} AS runtime
ARG VERSION=0.1.dev0
ARG VCS_REF=unknown
LABEL org.opencontainers.image.title="qsmprep" \
      org.opencontainers.image.description="Quantitative susceptibility mapping as a BIDS App" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/qsmprep/qsmprep" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${VCS_REF}"
RUN useradd --create-home --home-dir /home/qsmprep --uid 1000 qsmprep
COPY --from=build /opt/qsmprep /opt/qsmprep
# Any uid can run it, with a read-only root: everything that wants to write goes to /tmp.
ENV PATH=/opt/qsmprep/bin:$PATH \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/.cache \
    MPLCONFIGDIR=/tmp/.cache/matplotlib \
    NUMBA_CACHE_DIR=/tmp/.cache/numba \
    TEMPLATEFLOW_HOME=/tmp/.cache/templateflow \
    NIPYPE_NO_ET=1 \
    NO_ET=1 \
    OMP_NUM_THREADS=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    QSMPREP_CONTAINER_TAG=qsmprep:${VERSION}
USER 1000
WORKDIR /tmp
ENTRYPOINT ["qsmprep"]
