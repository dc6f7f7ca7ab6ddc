"""Replicate: predictions (client, prediction) and the webhooks that tell their end (webhook)."""

from glisk.clients.replicate.client import ReplicateClient
from glisk.clients.replicate.prediction import (
    Prediction,
    classify_prediction_failure,
    parse_prediction,
)
from glisk.clients.replicate.webhook import WebhookSignatureError, verify_webhook

__all__ = [
    "Prediction",
    "ReplicateClient",
    "WebhookSignatureError",
    "classify_prediction_failure",
    "parse_prediction",
    "verify_webhook",
]
