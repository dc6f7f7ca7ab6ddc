"""Tell a refusal by somebody's moderation from every other fault, by what it speaks of.

Each model's provider words it anew, so no list of texts can be complete. A refusal is a sentence
in which a thing of moderation (a safety system, a content policy, nudity, …) meets a verdict
(rejected, flagged, detected, …), or a code made of such words alone. It is none if the sentence
says that the machinery is broken, that nothing was found, or that the account is meant.

Wordings that were seen: "(E005)" (https://replicate.com/docs/topics/predictions/error-codes), the
model codes of flux and Stable Diffusion, public reports of other providers' models.
"""

from __future__ import annotations

import re
from typing import Final

_CONTENT: Final = (
    r"(?:content|prompts?|inputs?|outputs?|images?|pictures?|texts?|material|concepts?|terms|words)"
)
_LABEL: Final = (
    r"(?:nsfw|unsafe|inappropriate|sensitive|harmful|offensive|objectionable|adult|mature|lewd|"
    r"(?:sexually )?explicit|sexual|violent|hateful|copyrighted|prohibited|disallowed|forbidden|"
    r"restricted|banned|flagged|moderated|censored)"
)

# HTTP statuses that a refused prompt may be answered with.
REFUSING_STATUSES: Final = frozenset({400, 403, 422, 451})

# What moderation is about, or is called.
_THING: Final = re.compile(
    r"\b(?:moderat\w+|(?<!thread )(?<!memory )(?<!type )safety|nsfw|not safe for work|unsafe|"
    r"(?<!case )(?<!latency )(?<!time )sensitiv\w+|e005|risk control|responsible ai|guidelines|"
    r"(?:content|usage|acceptable use|community)(?: \w+)? "
    r"(?:polic\w+|guidelines?|standards?|rules?|restrictions?)|content filter\w*|"
    r"terms of (?:service|use)|inappropriate|sexual\w*|nud(?:e|es|ity)|porn\w*|profan\w*|"
    r"violen(?:t|ce)|gore|hate(?:ful)?(?: speech)?|harmful|harassment|self harm|offensive|"
    r"objectionable|csam|censor\w*|lewd|"
    r"(?:explicit|adult|mature|illegal) (?:content|material|images?)|"
    r"copyright\w*|intellectual property|trademark\w*|public figures?|real (?:person|people)|"
    r"celebrit\w+|likeness)\b"
)
_VERDICT: Final = re.compile(
    r"\b(?:reject\w*|block(?:ed|s|ing)?|refus\w+|flag(?:ged|s)|violat\w+|detect(?:ed|s|ion)?|"
    r"deni\w+|declin\w+|prohibit\w*|disallow\w*|forbid\w*|censor\w*|filter(?:ed|s|ing)|moderated|"
    r"found|contain(?:s|ed|ing)?|trigger\w*|breach\w*|against|withheld|removed|restrict\w+|"
    r"suppress\w*|not (?:be )?(?:allow|permit|accept|compl|process|creat|generat|pass|meet)\w*|"
    r"(?:cannot|can't|unable to) (?:be )?(?:generat|creat|process|fulfil|complet)\w*|"
    # Not "failed to run the safety checker".
    r"fail\w* (?!to (?!pass|meet|satisfy|clear|comply))"
    r"(?:\w+ ){0,3}(?:moderation|safety|check|filter|risk))\b"
)
# Both in one: "Request Moderated", "PROHIBITED_CONTENT", "The prompt was blocked".
_REFUSAL: Final = re.compile(
    rf"\b(?:(?:request|generation|{_CONTENT}) (?:(?:was|is|has been|were|got) )?moderated|"
    rf"(?:request|{_CONTENT}) (?:(?:was|is|has been|were|got) )?flagged|"
    rf"{_LABEL} (?:\w+ )?{_CONTENT}|"
    rf"(?:content|prompts?|images?) (?:(?:was|is|are|were|has been|have been|may be) )?"
    rf"(?:{_LABEL}|blocked|filtered|rejected|refused|denied|not allowed|not permitted)|"
    r"(?:violat\w+|breach\w*|against) (?:of )?(?:\w+ )?(?:\w+ )?(?:polic\w+|terms))\b"
    r"|^(?:\w+ )?policy violation$"
)
# The machinery, the form of a request, the model, or the account: no judgement of a prompt.
_ELSE: Final = re.compile(
    r"\b(?:load(?:ed|ing)?|download\w*|import\w*|initiali[sz]\w*|install\w*|weights?|checkpoints?|"
    r"connect\w*|socket|dns|ssl|time(?:d )?out|unavailable|unreachable|overloaded|not found|"
    r"no such|no module|missing|crash\w*|out of memory|oom|cuda|gpu|disk|traceback|deprecat\w*|"
    r"gateway|endpoint|upstream|firewall|docker|container|registry|pull|environment|variables?|"
    r"servers?|storage|upload\w*|queue\w*|scheduler|network|capacity|cors|urls?|paths?|files?|"
    r"filenames?|empty|nan|tensors?|dtype|exceptions?|"
    r"(?:key|type|attribute|index|name|assertion|os|io) error|"
    r"(?:model|version) (?:violat\w+|(?:was|is|has been) \w+)|"
    r"unsupported|formats?|media type|decod\w*|encod\w*|corrupt\w*|tokenizer|"
    r"rate limit\w*|too many|quota|too long|too large|exceed\w*|"
    r"must be|invalid type|expected|is required|one of the following|"
    r"accounts?|your (?:users?|teams?|tokens?|keys?|usage)|regions?|countr(?:y|ies)|"
    r"organi[sz]ations?|access|accept the|agree|licen[cs]e\w*|credentials?|suspended|billing|"
    r"payment|credit|"
    r"(?:security|iam|bucket|retry|rate|limit|admission) polic\w+|all rights reserved|"
    r"disabled|skip\w*|bypass\w*|false|0 of|(?<!not )pass(?:ed|es))\b|\(c\)"
)
_NOTHING_FOUND: Final = re.compile(
    rf"\b(?:no|not|never|without|none|zero|0)(?: \w+){{0,2}} "
    rf"(?:{_LABEL}|flag\w*|moderat\w*|detect\w*|violat\w*|block\w*|filter\w*|reject\w*)\b"
    r"|[=:] ?(?:0(?:\.0\d*)?|no|none)(?![\w.])"
)
# A code: nothing but words of moderation and these.
_CODE_WORDS: Final = re.compile(
    rf"\b(?:{_CONTENT}|error|code|reason|finish|stop|block|system|check|policy|"
    r"violation|failed|failure|new|(?:pre|post)?processing|is|was|the|by|our|due|to)\b|[^a-z]"
)

# In logs, what was asked for is told by lines like these.
_ECHO: Final = re.compile(
    r"^\W*(?:\w+[ _.])?(?:prompt|input|args|kwargs|params)\w*\W*[:=].*$",
    re.MULTILINE | re.IGNORECASE,
)
_URL: Final = re.compile(r"https?://\S+")
_WORD_JOINTS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\w)[-_/](?=\w)")
_SENTENCE_ENDS: Final = re.compile(r"[.;!?]+(?:\s|$)|\n")
# A shorter prompt may be a word of the refusal itself.
_QUOTED_FROM: Final = 20


def find_refusal(text: str, *, prompt: str = "", in_logs: bool = False) -> str:
    """Return the sentence by which moderation refused, or an empty text.

    `prompt` is taken out of the text first: what an author wrote proves nothing. Nor do lines of
    logs that repeat the call's input.
    """
    if in_logs:
        text = _ECHO.sub("", text)
    if len(prompt) >= _QUOTED_FROM:
        text = re.sub(re.escape(prompt), "", text, flags=re.IGNORECASE)
    for sentence in map(str.strip, _SENTENCE_ENDS.split(_URL.sub("", text))):
        words = " ".join(_WORD_JOINTS.sub(" ", sentence).lower().split())
        if not _ELSE.search(words) and not _NOTHING_FOUND.search(words) and _refuses(words):
            return sentence
    return ""


def _refuses(words: str) -> bool:
    is_code = not _CODE_WORDS.sub("", _THING.sub("", words))
    about = _THING.search(words) is not None
    return bool(_REFUSAL.search(words)) or (about and (is_code or bool(_VERDICT.search(words))))
