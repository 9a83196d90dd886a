"""Base images: different looks for a description, before there is any reference of the character.

Each look varies what the description does not say: of hair, age, face, eyes and clothes every proposal gets another
value. What is said is never contradicted, as far as English words tell.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping

from ..errors import LikenessError
from ..prompt import contains, join
from .names import name_of, part_of
from .scene import Scene, Seeds, check_seed, checked_text, made, seed_for

USUAL, MOST = 3, 6
FRAME = "portrait, head and shoulders, front view, looking at the viewer, soft even light, plain grey background"
NEGATIVE = ("multiple people", "cropped head", "hands before the face", "sunglasses", "hat")

_AGES = (
    r"teen\w*|young\w*|old\w*|elder\w*|aged?|adult|middle-aged|\w*child\w*|kids?|\w*boys?|\w*girls?|school\w*|minor|baby|infant|"
    r"toddler|senior|grand(?:ma|pa|mother|father)|\w+teen|twent\w+|thirt\w+|fort(?:y|ies)|fift\w+|sixt\w+|sevent\w+|eight\w+"
)
_HAIR = (
    r"hair\w*|blonde?\w*|brunette|redhead\w*|ginger|bald|braids?|pony ?tails?|bun|bob|curls|curly|afro|dreadlocks|"
    r"mohawk|pigtails|buzz ?cut|wig|hijab|headscarf|turban"
)
_CLOTHES = (
    r"wear\w*|dress\w*|shirts?|t-shirts?|suits?|coats?|jackets?|sweaters?|blouses?|armou?r|uniforms?|robes?|kimono|cloth\w*|outfit\w*|"
    r"jeans|hoodie|scarf|naked|nude"
)
_SAID = {  # a description that has one of these says the trait itself
    "age": rf"\d+\s*[- ]?\s*(?:years?|yo\b|y/o)|\b\d0s\b|\b(?:{_AGES})\b",
    "hair": rf"\b(?:{_HAIR})\b",
    "face": r"\b(?:faced?|cheek\w*|jaw\w*|chin|freckle\w*|nose|beard\w*|moustache|mustache|scar\w*|features)\b",
    "eyes": r"\beye[ds]?\b",
    "clothes": rf"\b(?:{_CLOTHES})\b",
}
_LOOKS: Mapping[str, tuple[str, ...]] = {
    "age": (
        "in the mid twenties",
        "in the early forties",
        "in the late fifties",
        "in the mid thirties",
        "in the late sixties",
        "around thirty",
    ),
    "hair": (
        "short black hair",
        "long wavy auburn hair",
        "shoulder-length straight blonde hair",
        "curly dark brown hair",
        "silver grey hair, neatly cut",
        "chestnut hair tied back",
    ),
    "face": (
        "oval face with soft features",
        "angular face with high cheekbones",
        "round face with freckles",
        "square face with a strong jaw",
        "narrow face with a long nose",
        "heart-shaped face with full lips",
    ),
    "eyes": ("brown eyes", "green eyes", "blue eyes", "grey eyes", "hazel eyes", "dark eyes"),
    "clothes": (
        "wearing a plain white shirt",
        "wearing a dark turtleneck",
        "wearing a denim jacket",
        "wearing an olive green sweater",
        "wearing a grey blazer",
        "wearing a burgundy linen shirt",
    ),
}
_NO_PERSON = (
    r"\b(?:robot|android|cyborg|cat|dog|fox|wolf|dragon|animal|creature|monster|alien|bird|horse|bear|rabbit|toy)s?\b"
)
_ALWAYS = ("a calm look", "a friendly look", "a confident look", "a dreamy look", "a stern look", "a cheerful look")


def proposals_of(
    description: str,
    count: int = USUAL,
    seed: int = 0,
    *,
    text: str = "",
    negative: str = "",
    seeds: Seeds = "each",
    frame: str = FRAME,
) -> tuple[Scene, ...]:
    """1 to 6 looks; any two differ in everything that they add. `text`: style words; `frame`: how it is photographed.

    LikenessError for an empty description, or another count.
    """
    check_seed(seed, seeds)
    plain = checked_text(description, "description").strip()
    if not plain:
        raise LikenessError("There is no description: write who is to be drawn, for example 'a young sailor'.")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        raise LikenessError(f"count: 1 to {MOST} proposals can be made, not {count}.")
    frame, text = checked_text(frame, "frame"), checked_text(text, "text")
    against = join(*(w for w in NEGATIVE if not contains(plain, w)), checked_text(negative, "negative"))
    columns = {trait: _order(values, seed, trait) for trait, values in unsaid(plain).items()}
    found = []
    for k in range(count):
        traits = {trait: values[k] for trait, values in columns.items()}
        name = name_of([part_of(plain, 40), f"proposal_{k + 1}"])
        prompt = join(plain, *traits.values(), frame, text)
        seed_of = seed_for(seed, name, seeds)
        found.append(made({"name": name, "seed": seed_of, "prompt": prompt, "negative": against, "values": traits}))
    return tuple(found)


def unsaid(description: str) -> dict[str, tuple[str, ...]]:
    """Traits that the description leaves open, with the values to choose from. Never none."""
    said = {trait for trait, rule in _SAID.items() if re.search(rule, description, re.IGNORECASE)}
    if re.search(_NO_PERSON, description, re.IGNORECASE):
        said |= {"age", "hair", "face"}
    return {trait: values for trait, values in _LOOKS.items() if trait not in said} or {"look": _ALWAYS}


def _order(values: tuple[str, ...], seed: int, trait: str) -> list[str]:
    """The values in an order of this seed's own."""
    digest = hashlib.sha256(f"{seed}\n{trait}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big")).sample(values, len(values))
