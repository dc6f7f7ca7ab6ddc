"""Replicate: predictions (client, prediction) and the webhooks that tell their end (webhook)."""

from glisk.clients.replicate.client import ModelReference, ReplicateClient
from glisk.clients.replicate.prediction import (
    Prediction,
    classify_prediction_failure,
    parse_prediction,
)
from glisk.clients.replicate.webhook import WebhookSignatureError, sign_webhook, verify_webhook

__all__ = [
    "ModelReference",
    "Prediction",
    "ReplicateClient",
    "WebhookSignatureError",
    "classify_prediction_failure",
    "parse_prediction",
    "sign_webhook",
    "verify_webhook",
]
