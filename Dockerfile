# penstock as an image: every package from a hashed lock, no compiler, no root, and nothing that need be written to.
#
#   docker build -t penstock .                            # --build-arg LOCK=litellm brings litellm along
#   docker run -p 127.0.0.1:8420:8420 -e PENSTOCK_API_KEYS=$(openssl rand -hex 32) penstock
#
# The configuration is /etc/penstock/penstock.toml, where there is one. See docs/howto/deploy.md.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
# What is installed: a file of requirements/, without its ending.
ARG LOCK=core
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /build
COPY requirements/*.lock requirements/
RUN python -m venv /build/tools \
 && /build/tools/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/build.lock
RUN python -m venv /opt/penstock \
 && /opt/penstock/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/${LOCK}.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /build/tools/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /build/wheel . \
 && /opt/penstock/bin/python -m pip install --quiet --no-deps --no-index /build/wheel/penstock-*.whl

FROM python:${PYTHON}-slim
RUN groupadd --gid 10001 penstock \
 && useradd --uid 10001 --gid penstock --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin penstock
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Beyond loopback the server wants keys (PENSTOCK_API_KEYS), or to be told that it should let everybody in (--insecure).
ENV PENSTOCK_HOST=0.0.0.0 PENSTOCK_PORT=8420
WORKDIR /etc/penstock
USER 10001:10001
EXPOSE 8420
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PENSTOCK_PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["penstock"]
CMD ["serve"]
