"""Replicate: the client that makes predictions, and what a prediction and its failures are."""

from glisk.clients.replicate.client import ReplicateClient
from glisk.clients.replicate.prediction import (
    Prediction,
    classify_prediction_failure,
    parse_prediction,
)

__all__ = ["Prediction", "ReplicateClient", "classify_prediction_failure", "parse_prediction"]
