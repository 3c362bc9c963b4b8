# Two stages on one base image: the virtual environment's interpreter is a link into it,
# so /venv can be copied whole and pip, compilers and caches stay behind.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY optimizer optimizer
COPY adapter adapter
COPY simulator simulator
RUN python -m pip wheel --no-deps --wheel-dir /wheels . \
 && python -m venv /venv \
 && /venv/bin/pip install --constraint constraints.txt /wheels/*.whl \
 && /venv/bin/pip uninstall --yes pip

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="wva-adapter" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /venv /venv
# Nothing is written outside /tmp: the root file system may be read-only.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8443 6000 8080
ENTRYPOINT ["/venv/bin/wva"]
CMD ["serve", "--settings", "/etc/wva/settings.yaml"]
