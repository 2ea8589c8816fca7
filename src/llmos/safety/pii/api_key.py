"""Keys and tokens of services that give theirs a fixed beginning, so that they can be found."""

from __future__ import annotations

from llmos.safety.pii.base import Detector, Finding, detector
from llmos.safety.pii.entropy import entropy

MIN_ENTROPY = 2.5  # bits a character; "sk-xxxxxxxxxxxxxxxxxxxxxxxx" has 0.6

# The forms are those that the services document; most also in the pattern lists of their secret scanning partners.
_FORMS = (
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS access key id
    r"\bgh[pousr]_[A-Za-z0-9]{30,255}\b",  # GitHub
    r"\bgithub_pat_[A-Za-z0-9_]{22,255}\b",
    r"\bglpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"\bhooks\.slack\.com/services/T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]{16,}",
    r"\bAIza[A-Za-z0-9_-]{35}",  # Google
    r"\bya29\.[A-Za-z0-9_-]{20,}",
    r"\bGOCSPX-[A-Za-z0-9_-]{20,}",
    r"\bsk-[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic and those who copied them
    r"\b[srp]k_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
    r"\bhf_[A-Za-z0-9]{30,}\b",  # Hugging Face
    r"\bnpm_[A-Za-z0-9]{36}\b",
    r"\bpypi-AgE[A-Za-z0-9_-]{50,}",
    r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"\bdop_v1_[a-f0-9]{64}\b",  # DigitalOcean
    r"\bLTAI[A-Za-z0-9]{12,24}\b",  # Alibaba Cloud
    r"\bAKID[A-Za-z0-9]{28,36}\b",  # Tencent Cloud
    r"\bllmos_[A-Za-z0-9_-]{20,}",
)


@detector("api_key")
class ApiKey(Detector):
    """AWS, GitHub, GitLab, Slack, Google, OpenAI-like, Stripe, Hugging Face, npm, PyPI, SendGrid, DigitalOcean, Alibaba, Tencent
    and LLMOS. The rest after the beginning has a digit and is not a filler."""

    pattern = "|".join(_FORMS)
    rank = 5

    def check(self, text: str, start: int, end: int) -> Finding | None:
        value = text[start:end]
        if not any(one.isdigit() for one in value) or entropy(value[4:]) < MIN_ENTROPY:
            return None
        if value.startswith("sk-") and value.count("-") > 3 and all(len(part) < 12 for part in value.split("-")):
            return None  # a word with hyphens, not a key
        return self.found(start, end, 0.95)
