"""What a prompt may consist of, wherever it comes from."""

import unicodedata

from django.core.exceptions import ValidationError

from authors.models import PROMPT_MAX_LENGTH

# Prompts of several lines are wanted; everything else of category Cc is no text.
_LAYOUT = frozenset("\n\r\t")


def check_prompt(text: str) -> None:
    """Raise `ValidationError`, naming every fault, unless the text can be a prompt."""
    faults = []
    if not text.strip():
        faults.append("The prompt is empty.")
    if len(text) > PROMPT_MAX_LENGTH:
        faults.append(f"The prompt has {len(text)} characters; {PROMPT_MAX_LENGTH} are allowed.")
    for character in text:
        # Cs: half of a surrogate pair, which cannot be stored.
        if unicodedata.category(character) in ("Cc", "Cs") and character not in _LAYOUT:
            faults.append(f"The prompt holds a control character (U+{ord(character):04X}).")
            break
    if faults:
        raise ValidationError(faults)
