"""The admin's pages of tokens and of what the machine writes about them."""

from tokens.admin.records import ImageGenerationJobAdmin, IPFSUploadRecordAdmin, MintEventAdmin
from tokens.admin.samples import PromptSampleAdmin
from tokens.admin.token import TokenAdmin

__all__ = [
    "IPFSUploadRecordAdmin",
    "ImageGenerationJobAdmin",
    "MintEventAdmin",
    "PromptSampleAdmin",
    "TokenAdmin",
]
