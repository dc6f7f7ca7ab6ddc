"""The token, its mint, its generation jobs, its artefacts and its timeline."""

from tokens.models.artefact import IPFSUploadRecord, TokenImage
from tokens.models.job import DailySpend, ImageGenerationJob, PromptSample
from tokens.models.mint import MintEvent
from tokens.models.token import Token, TokenTransition

__all__ = [
    "DailySpend",
    "IPFSUploadRecord",
    "ImageGenerationJob",
    "MintEvent",
    "PromptSample",
    "Token",
    "TokenImage",
    "TokenTransition",
]
