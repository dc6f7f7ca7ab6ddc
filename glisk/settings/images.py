"""The images: who makes them and at which price, and where they are kept."""

import re

from glisk.config.formats import (
    is_gateway,
    is_host_pattern,
    is_model_price,
    is_price,
    is_svix_secret,
)
from glisk.settings.processes import env

REPLICATE_BASE_URL = env.url("REPLICATE_BASE_URL", "https://api.replicate.com")
REPLICATE_API_TOKEN = env.secret("REPLICATE_API_TOKEN", min_length=20)
REPLICATE_MODEL_VERSION = env.text("REPLICATE_MODEL_VERSION", "black-forest-labs/flux-schnell")
if not re.fullmatch(r"[\w.-]+/[\w.-]+(:[0-9a-f]{64})?|[0-9a-f]{64}", REPLICATE_MODEL_VERSION):
    env.fault("REPLICATE_MODEL_VERSION", "is not owner/name, owner/name:version or a version")
REPLICATE_WEBHOOK_SECRETS = env.secret_texts(
    "REPLICATE_WEBHOOK_SECRET", [], wanted="keys (whsec_ and base64)", each=is_svix_secret
)
REPLICATE_OUTPUT_HOSTS = env.texts(
    "REPLICATE_OUTPUT_HOSTS",
    ["replicate.delivery", "*.replicate.delivery"],
    wanted="hosts (host, *.host or host:port)",
    each=is_host_pattern,
)
IMAGE_SERVICE = env.choice("IMAGE_SERVICE", "replicate", ("replicate", "selfhosted"))
SELFHOSTED_IMAGE_API_URL = env.url("SELFHOSTED_IMAGE_API_URL", "")
if IMAGE_SERVICE == "selfhosted" and not SELFHOSTED_IMAGE_API_URL:
    env.fault("SELFHOSTED_IMAGE_API_URL", "is not set although IMAGE_SERVICE is selfhosted")
SELFHOSTED_IMAGE_API_TOKEN = env.secret("SELFHOSTED_IMAGE_API_TOKEN", "", min_length=10)
SELFHOSTED_MODEL = env.text("SELFHOSTED_MODEL", "selfhosted", min_length=1, max_length=200)
SELFHOSTED_CONCURRENCY = env.integer("SELFHOSTED_CONCURRENCY", 1, low=1, high=200)
_price = "a price (0.002 an image, or 0.0002/s)"
SELFHOSTED_PRICE_USD = env.text("SELFHOSTED_PRICE_USD", "0", wanted=_price)
if not is_price(SELFHOSTED_PRICE_USD):
    env.fault("SELFHOSTED_PRICE_USD", f"is not {_price}")
FALLBACK_CENSORED_PROMPT = env.text(
    "FALLBACK_CENSORED_PROMPT",
    "A serene abstract landscape of soft colours and gentle light",
    min_length=1,
    max_length=1000,
)
# US dollars for a model that REPLICATE_PRICES does not name.
GENERATION_COST_USD = env.number("GENERATION_COST_USD", 0.003, low=0, high=100)
# Each with its unit, by model.
REPLICATE_PRICES = {
    model.strip(): price.strip()
    for model, _, price in (
        entry.rpartition("=")
        for entry in env.texts(
            "REPLICATE_PRICES",
            ["black-forest-labs/flux-schnell=0.003", "black-forest-labs/flux-dev=0.025"],
            wanted="prices (owner/name=0.003 an image, or =0.000725/s)",
            each=is_model_price,
        )
    )
}
DAILY_SPEND_CAP_USD = env.number("DAILY_SPEND_CAP_USD", 0, low=0, high=1_000_000)
GENERATION_PAUSE_AFTER_WASTED = env.integer("GENERATION_PAUSE_AFTER_WASTED", 10, low=0, high=1000)
# 0: the vendor's limit is found (glisk.rate_limit).
REPLICATE_PREDICTIONS_PER_MINUTE = env.integer(
    "REPLICATE_PREDICTIONS_PER_MINUTE", 0, low=0, high=1_000_000
)
GENERATION_MAX_ATTEMPTS = env.integer("GENERATION_MAX_ATTEMPTS", 3, low=1, high=20)
# A token that failed for a passing reason is taken up again after each of these; none: never.
RETRY_FAILED_AFTER_SECONDS = [
    seconds
    for seconds in map(
        float,
        env.texts(
            "RETRY_FAILED_AFTER_SECONDS",
            ["600", "3600", "21600"],
            wanted="whole seconds, at most 30 days",
            each=lambda text: re.fullmatch("[0-9]{1,7}", text) and int(text) <= 2_592_000,
        ),
    )
    if seconds
]
GENERATION_TIMEOUT_SECONDS = env.number("GENERATION_TIMEOUT_SECONDS", 300, low=1, high=1800)
IMAGE_MAX_BYTES = env.integer("IMAGE_MAX_BYTES", 20_000_000, low=1000, high=100_000_000)

# -- Storage ----------------------------------------------------------------------------
PINATA_API_URL = env.url("PINATA_API_URL", "https://api.pinata.cloud")
PINATA_JWT = env.secret("PINATA_JWT", "", min_length=10)
PINATA_API_KEY = env.secret("PINATA_API_KEY", "")
PINATA_API_SECRET = env.secret("PINATA_API_SECRET", "")
if not PINATA_JWT and not (PINATA_API_KEY and PINATA_API_SECRET):
    env.fault("PINATA_JWT", "is not set, nor are PINATA_API_KEY and PINATA_API_SECRET")
PINATA_REQUESTS_PER_MINUTE = env.integer("PINATA_REQUESTS_PER_MINUTE", 0, low=0, high=1_000_000)
if PINATA_REQUESTS_PER_MINUTE == 1:
    env.fault("PINATA_REQUESTS_PER_MINUTE", "is 1; a token needs two requests at once")
PINATA_GATEWAY = env.texts("PINATA_GATEWAY", wanted="hosts or URLs", each=is_gateway)
PINATA_GATEWAY_TOKEN = env.secret("PINATA_GATEWAY_TOKEN", "")
SEASON = env.integer("SEASON", 0, low=0, high=1000)
COLLECTION_NAME = env.text("COLLECTION_NAME", "GLISK", min_length=1, max_length=50)
METADATA_DESCRIPTION = env.text(
    "METADATA_DESCRIPTION", f"GLISK Season {SEASON}. https://x.com/getglisk", max_length=1000
)
IMAGE_RETENTION_DAYS = env.number("IMAGE_RETENTION_DAYS", 3, low=1, high=3650)
SAMPLE_RETENTION_DAYS = env.number("SAMPLE_RETENTION_DAYS", 30, low=1, high=3650)
IMAGE_CID_VERSION = env.integer("IMAGE_CID_VERSION", 1, low=0, high=1)
METADATA_CID_VERSION = env.integer("METADATA_CID_VERSION", 0, low=0, high=1)
