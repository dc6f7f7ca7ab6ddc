"""The token, its mint, its generation jobs, its artefacts and its timeline."""

from tokens.models.artefact import IPFSUploadRecord, TokenImage
from tokens.models.job import ImageGenerationJob
from tokens.models.mint import MintEvent
from tokens.models.sample import PromptSample
from tokens.models.spend import DailySpend
from tokens.models.token import Token
from tokens.models.transition import TokenTransition

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
