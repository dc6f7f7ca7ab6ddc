"""What a prompt may consist of, wherever it comes from."""

import unicodedata

from django.core.exceptions import ValidationError

from authors.models import PROMPT_MAX_LENGTH

# Prompts of several lines are wanted; everything else of category Cc is no text.
_LAYOUT = frozenset("\n\r\t")

# General categories without a mark on the paper: controls, formats, surrogates, separators.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
# Default_Ignorable_Code_Point outside of these categories (fillers, joiners, variation selectors,
# and what is kept for more of them), by Unicode's DerivedCoreProperties.txt.
_IGNORABLE = (
    *(range(0x034F, 0x0350), range(0x115F, 0x1161), range(0x17B4, 0x17B6), range(0x180B, 0x1810)),
    *(range(0x2060, 0x2070), range(0x3164, 0x3165), range(0xFE00, 0xFE10), range(0xFFA0, 0xFFA1)),
    *(range(0xFFF0, 0xFFF9), range(0xE0000, 0xE1000)),
)
# Signs that stand for nothing have no property in common but their names.
_NAMES_OF_BLANKS = frozenset({"BLANK", "FILLER", "NULL"})


def check_prompt(text: str) -> None:
    """Raise `ValidationError`, naming every fault, unless the text can be a prompt."""
    faults = []
    if not any(map(_is_seen, text)):
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


def _is_seen(character: str) -> bool:
    """Tell whether a character alone leaves something to be seen."""
    if unicodedata.category(character) in _UNSEEN_CATEGORIES:
        return False
    if any(ord(character) in codes for codes in _IGNORABLE):
        return False
    return _NAMES_OF_BLANKS.isdisjoint(unicodedata.name(character, "").split())
