# syntax=docker/dockerfile:1
# The token server of the system registry in a cluster. To build it:
#   docker build -f infra/kubernetes/image/token.Dockerfile -t <your registry>/regcred-token:<version> .
# It runs as a user without a name, with a read-only root file system, and writes nothing.
# A release resolves this name to a digest, which its provenance records.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS packages
COPY infra/kubernetes/image/requirements-token.txt /requirements.txt
RUN python -m pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
      --target /opt/regcred -r /requirements.txt && rm -rf /opt/regcred/bin
COPY layers/core/python/regcred /opt/regcred/regcred
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/regcred

FROM ${BASE}
RUN python -m pip uninstall --yes pip
COPY --from=packages /opt/regcred /opt/regcred
COPY functions/token/app.py /app/app.py
ENV PYTHONPATH=/opt/regcred PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /app
ENTRYPOINT ["python3", "/app/app.py"]
