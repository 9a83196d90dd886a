"""The text a character adds to a prompt."""

from __future__ import annotations

import re

from .profile import Profile


def positive(profile: Profile, text: str) -> str:
    """Trigger and class word, description, then the user's text: "adaray woman, red hair, in a park"."""
    trigger = profile.trigger.strip()
    subject = " ".join(w for w in (trigger, profile.class_word.strip()) if w)
    if subject and contains(text, trigger or subject):
        subject = ""  # the user has placed the character already
    return join(subject, profile.description, text)


def negative(profile: Profile, text: str) -> str:
    """The character's negative prompt, then the user's."""
    return join(profile.negative, text)


def contains(text: str, word: str) -> bool:
    """Whether the word stands in the text on its own, in any case: "ada" is not in "adamant"."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def join(*parts: str) -> str:
    """The texts with one comma between two; empty ones are left out."""
    return ", ".join(p for p in (part.strip().strip(",").strip() for part in parts) if p)
