# The image of every light service: docker build --build-arg SERVICE=llm_consumer .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin app
WORKDIR /app
# A layer that the light services share: what each of them needs is what the smallest one has.
COPY kafka_init/requirements.txt requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip pip install --root-user-action=ignore -r requirements.txt
ARG SERVICE
COPY ${SERVICE}/requirements.txt requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip pip install --root-user-action=ignore -r requirements.txt
COPY pipeline pipeline
COPY ${SERVICE} ${SERVICE}
# A clone may be its owner's alone (umask 077).
RUN python -m compileall -q pipeline ${SERVICE} && chmod -R a+rX /app
USER 10001
WORKDIR /app/${SERVICE}
