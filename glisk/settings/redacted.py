"""The values that no log line, stored error or page may show."""

from glisk.redaction import register_secret
from glisk.settings.chain import ALCHEMY_API_KEY, ALCHEMY_WEBHOOK_SECRETS
from glisk.settings.images import (
    PINATA_API_KEY,
    PINATA_API_SECRET,
    PINATA_GATEWAY_TOKEN,
    PINATA_JWT,
    REPLICATE_API_TOKEN,
    REPLICATE_WEBHOOK_SECRETS,
    SELFHOSTED_IMAGE_API_TOKEN,
)
from glisk.settings.reveals import KEEPER_PRIVATE_KEY, OPENSEA_API_KEY
from glisk.settings.server import SECRET_KEY
from glisk.settings.visitors import X_CLIENT_SECRET

for _secret in (
    SECRET_KEY,
    ALCHEMY_API_KEY,
    *ALCHEMY_WEBHOOK_SECRETS,
    REPLICATE_API_TOKEN,
    *REPLICATE_WEBHOOK_SECRETS,
    SELFHOSTED_IMAGE_API_TOKEN,
    PINATA_JWT,
    PINATA_API_KEY,
    PINATA_API_SECRET,
    PINATA_GATEWAY_TOKEN,
    OPENSEA_API_KEY,
    X_CLIENT_SECRET,
    KEEPER_PRIVATE_KEY,
):
    register_secret(_secret)
