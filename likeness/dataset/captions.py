"""Captions: one line, trigger first. From a template, from a text that is there already, or from a tagger's words.

What never changes about a person (hair, eyes, scars) is left out and what varies is named: what a caption names binds
to the phrase, what it leaves out binds to the trigger word.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import LikenessError
from .caption_tokens import LIMIT, estimate_tokens
from .plan import Facts, check_caption


class Subject(Protocol):
    """Whose captions they are: `About`, `SetPlan` and `Profile` are such."""

    @property
    def trigger(self) -> str: ...

    @property
    def class_word(self) -> str: ...


Form = Literal["tags", "sentence"]
FORMS: tuple[Form, ...] = ("tags", "sentence")


@dataclass(frozen=True)
class Style:
    """How template captions are written."""

    form: Form = "tags"  # sentence: for models with a language model as text encoder
    leave_out: tuple[str, ...] = ()  # phrases that no caption names, whatever was measured: see `never_change`
    keep: tuple[str, ...] = ()  # tags that are named although they sound like identity
    tokens: int = LIMIT  # what does not fit is left out, the least telling first


TAGS = Style()
# Several wordings for each, so that no phrase stands in most captions; what goes without saying has none.
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "framing": {
        "portrait": ("portrait", "head and shoulders", "portrait shot"),
        "upper body": ("upper body", "half-length shot", "from the waist up"),
        "full body": ("full body", "full-length shot", "whole figure"),
    },
    "angle": {
        "frontal": ("front view", "facing the viewer", ""),
        "three-quarter left": ("three-quarter view facing left", "turned slightly to the left", "half turned left"),
        "three-quarter right": ("three-quarter view facing right", "turned slightly to the right", "half turned right"),
        "profile left": ("profile facing left", "side view facing left", "seen from the side looking left"),
        "profile right": ("profile facing right", "side view facing right", "seen from the side looking right"),
    },
    "tilt": {
        "looking up": ("looking up", "chin raised", "head tilted back"),
        "looking down": ("looking down", "chin lowered", "head bowed"),
    },
    "expression": {
        "smiling": ("smiling", "broad smile", "big smile"),
        "neutral": ("neutral expression", "calm expression", "straight face"),
    },
    "light": {
        "bright": ("bright light", "brightly lit", "light tones"),
        "dark": ("dim light", "low light", "dark surroundings"),
    },
}
# What a tagger says of a facet that was measured: said once is enough, and the two might differ.
_SAME = {
    "framing": r"(?:portrait|portrait shot|head and shoulders|upper body|full body|cowboy shot|"
    r"close-up|head ?shot|lower body|wide shot)",
    "angle": r"(?:from side|profile|looking at viewer|facing viewer|straight-on|three quarter view|facing to the side)",
    "tilt": r"(?:looking up|looking down|head tilt|head down|head back)",
    "expression": r"(?:smile|smiling|grin|light smile|expressionless|serious|neutral expression)",
    "light": r"(?:bright|dark|dim lighting|backlighting|overexposure)",
}
_COLOUR = (
    r"(?:aqua|black|blonde?|blue|brown|dark|light|green|grey|gray|orange|pink|purple|red|white|silver|golden?|"
    r"multicolou?red|two-tone|amber|hazel|auburn|ginger|platinum|pale|tan|heterochromia)"
)
_IDENTITY = re.compile(
    rf"(?:{_COLOUR}[ -])*(?:hair|eyes?|skin|eyebrows|eyelashes|pupils|haired|eyed|skinned)"
    r"|(?:very |extremely )?(?:long|short|medium|shoulder-length|curly|wavy|straight|thick|absurdly long) hair"
    r"|bangs|(?:blunt|parted|swept|side|crossed) bangs|sidelocks|ahoge|hair between eyes|heterochromia|dark-skinned .*"
    r"|freckles|(?:mole|scar|birthmark|tattoo)s?(?: .*)?|facial hair|beard|stubble|mustache|goatee|sideburns|bald"
    r"|(?:small|medium|large|huge|flat) (?:breasts|chest)|breasts|muscular|old(?: (?:man|woman))?|mature (?:fe)?male"
    r"|(?:animal|cat|fox|wolf|rabbit|dog|horse|pointy|elf) ears?|(?:demon |cat |fox )?(?:horns?|tail)|wings|fangs?"
    r"|(?:\d\+?|multiple )(?:girl|boy|other)s?|solo|male focus|female focus|realistic|photorealistic|photo \(medium\)",
    re.IGNORECASE,
)
_UNNAMED = re.compile(r"(?:background|outfit|look|group|cluster) ?\d*", re.IGNORECASE)  # clusters have no words
_PLACE = re.compile(
    r"(?:in|on|at|by|under|near|before|against|inside|outside|outdoors|indoors)\b|.*\bbackground\b", re.I
)
_ARTICLE = re.compile(r"(?:an?|the)\b", re.IGNORECASE)
_WORN = re.compile(r"(?:in|wearing|with)\b", re.IGNORECASE)


def subject_of(who: Subject) -> str:
    """What every caption begins with: "ohwx woman"."""
    return " ".join(f"{who.trigger} {who.class_word}".split())


def keep_tokens(who: Subject) -> int:
    """How many parts between commas the trainer must leave in place, at least 1."""
    return max(len(tags_of(subject_of(who))), 1)


def tags_of(caption: str) -> list[str]:
    """The parts between commas, without blanks around them; empty ones are left out."""
    return [tag for part in caption.split(",") if (tag := " ".join(part.split()))]


def caption_of(facts: Facts, who: Subject, index: int, style: Style = TAGS) -> str:
    """One line from what is known of a picture. The same facts, index and style always give the same line.

    `index` chooses among several wordings and orders, so that no wording stands in every caption.
    """
    subject, out = subject_of(who), {t.casefold() for t in style.leave_out}
    said = {facet: words for facet, words in _said(facts, index).items() if words.casefold() not in out}
    tags = [t for t in _free_tags(facts, who, style) if t.casefold() not in out | {w.casefold() for w in said.values()}]
    write = _sentence if style.form == "sentence" else _tag_line
    tried = range(1, len(tags) + 1)  # a tagger names the most certain first
    fits = bisect_right(tried, style.tokens, key=lambda n: estimate_tokens(write(subject, said, tags[:n], index)))
    return write(subject, said, tags[:fits], index)


def _said(facts: Facts, index: int) -> dict[str, str]:
    """Facet -> its words in this caption."""
    found: dict[str, str] = {}
    for facet, words in _WORDS.items():
        if among := words.get(getattr(facts, facet), ()):
            slower = index // len(among) ** len(found)  # or two facets would always change together
            found[facet] = among[(index + slower) % len(among)]
    outfit, background = facts.outfit.strip(), facts.background.strip()
    if outfit and not _UNNAMED.fullmatch(outfit):
        found["outfit"] = (
            outfit if _WORN.match(outfit) or index % 3 == 2 else f"{('wearing', 'in')[index % 3]} {outfit}"
        )
    if background and not _UNNAMED.fullmatch(background):
        found["background"] = background if _PLACE.match(background) or index % 2 else _behind(background)
    return {facet: words for facet, words in found.items() if words}


def _behind(place: str) -> str:
    return f"{place} in the background" if _ARTICLE.match(place) else f"{place} background"


def _free_tags(facts: Facts, who: Subject, style: Style) -> list[str]:
    """Tags that are neither identity, nor the subject, nor said by a facet already."""
    keep, own = (
        {t.casefold() for t in style.keep},
        {t.casefold() for t in (who.trigger, who.class_word, subject_of(who))},
    )
    known = [re.compile(p, re.IGNORECASE) for facet, p in _SAME.items() if getattr(facts, facet)]
    found: dict[str, str] = {}
    for tag in (t for text in facts.tags for t in tags_of(text)):
        low = tag.casefold()
        told = is_identity(tag) or any(p.fullmatch(tag) for p in known)
        if low not in own and (low in keep or not told):
            found.setdefault(low, tag)
    return list(found.values())


def is_identity(tag: str) -> bool:
    """Whether a tag names what usually never changes about one person: hair, eyes, skin, scars, build, number."""
    return _IDENTITY.fullmatch(tag.strip()) is not None


def _tag_line(subject: str, said: dict[str, str], tags: Sequence[str], index: int) -> str:
    words = list(said.values())
    turn = index % len(words) if words else 0
    return ", ".join([subject, *words[turn:], *words[:turn], *tags])


def _sentence(subject: str, said: dict[str, str], tags: Sequence[str], index: int) -> str:
    """ "ohwx woman, smiling, wearing a red dress. Portrait, front view, dim light." """
    does = [said[f] for f in ("expression", "tilt", "outfit") if f in said]
    shown = [said[f] for f in ("framing", "angle", "light", "background") if f in said] + list(tags)
    turn = index % len(does) if does else 0
    first = ", ".join([subject, *does[turn:], *does[:turn]])
    second = ", ".join(shown)
    return f"{first}. {second[:1].upper()}{second[1:]}." if second else first


def never_change(facts: Sequence[Facts], share: float = 0.8, least: int = 5) -> tuple[str, ...]:
    """Tags, outfits and backgrounds of at least `share` of the pictures: for `Style.leave_out`.

    () for fewer than `least` pictures, where a share says nothing.
    """
    if len(facts) < least:
        return ()
    counts: dict[str, int] = {}
    for one in facts:
        own = {t.casefold() for text in one.tags for t in tags_of(text)}
        for words in own | {*_worn(one.outfit), *_placed(one.background)}:
            counts[words] = counts.get(words, 0) + 1
    return tuple(sorted(words for words, count in counts.items() if count >= share * len(facts)))


def _worn(outfit: str) -> set[str]:
    low = outfit.strip().casefold()
    return {low, f"wearing {low}", f"in {low}"} if low else set()


def _placed(background: str) -> set[str]:
    low = background.strip().casefold()
    return {low, _behind(low)} if low else set()


# ---- captions that are there already


def read_caption(data: bytes) -> str:
    """A caption file -> one clean line. LikenessError in one sentence where that cannot be.

    Lines that begin with the same part are variations of one caption, as OneTrainer and sd-scripts' wildcards use them:
    the first is taken. Other lines are one caption that was wrapped, and are joined.
    """
    return clean_caption(_decoded(data))


def clean_caption(text: str) -> str:
    """Any text -> one line without blanks at the ends. LikenessError for an empty one or one that is no text."""
    text = unicodedata.normalize("NFC", text)
    if any(unicodedata.category(c) == "Cs" or (ord(c) < 32 and c not in "\t\n\v\f\r") for c in text):
        raise LikenessError("The caption holds control characters: save it again as plain text.")
    shown = "".join(c for c in text if c not in _UNSEEN and (unicodedata.category(c) != "Cc" or c.isspace()))
    lines = [line for raw in shown.splitlines() if (line := " ".join(raw.split()))]
    if not lines:
        raise LikenessError("The caption is empty: write one line, or delete the file.")
    return check_caption(_one(lines))


_UNSEEN = "\ufeff\u200b\u2060\u00ad"  # byte order mark, blanks of no width, soft hyphen: tokens that nobody sees


_LONG_LINE = 8  # blanks; tags are shorter, so a line break is no comma there


def _one(lines: list[str]) -> str:
    heads = {line.split(",")[0].casefold() for line in lines}
    if len(heads) == 1:
        return lines[0]
    prose = any(line[-1] in ".!?" or line.count(" ") >= _LONG_LINE for line in lines)
    text = lines[0]
    for line in lines[1:]:
        text += f" {line}" if prose or text[-1] in ",.;:!?" else f", {line}"
    return text


def _decoded(data: bytes) -> str:
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return _strictly(data, encoding)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = _strictly(data, "cp1252")
    if _foreign(text):
        raise LikenessError(_UNTOLD)
    return text


_UNTOLD = "The caption is in an encoding that cannot be told from its bytes: save it as UTF-8."


def _strictly(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise LikenessError(_UNTOLD) from None


def _foreign(text: str) -> bool:
    """Whether a text read as Western European was written in another alphabet.

    Western texts have accents one by one among plain letters; Cyrillic, Chinese or Japanese bytes come in runs.
    """
    if any(
        not ("\u00c0" <= c <= "\u017f" and c.isalpha()) and c not in "‘’“”„–—…«»°´·ß€£§¿¡" for c in text if c > "\x7f"
    ) or re.search(r"[¿¡](?![A-Za-z])", text):  # Spanish has them before words, others have letters there
        return True
    runs = [m for m in re.finditer(r"[\u00c0-\u017f]+", text) if len(m[0]) > 1]
    return any(len(m[0]) > 2 or not _beside_a_letter(text, m) for m in runs)


def _beside_a_letter(text: str, run: re.Match[str]) -> bool:
    around = text[max(run.start() - 1, 0) : run.start()] + text[run.end() : run.end() + 1]
    return any(c.isascii() and c.isalpha() for c in around)


def with_trigger(caption: str, who: Subject) -> str:
    """The caption with the trigger word first.

    A trigger in other letters, or one that is a part of its own further on, is moved; else trigger and class word are
    put before it.
    """
    trigger, subject = " ".join(who.trigger.split()), subject_of(who)
    caption = " ".join(caption.split())
    if not trigger or starts_with_trigger(caption, who):
        return trigger + caption[len(trigger) :]
    own = {trigger.casefold(), subject.casefold()}
    rest = [tag for tag in tags_of(caption) if tag.casefold() not in own]
    return ", ".join([subject, *rest])


def starts_with_trigger(caption: str, who: Subject) -> bool:
    """Whether the caption's first word is the trigger, in whatever letters: "ohwxy" is another word than "ohwx"."""
    return re.match(rf"{re.escape(' '.join(who.trigger.split()))}(?!\w)", caption, re.IGNORECASE) is not None


def texts_for(text: str, pictures: int) -> tuple[str, ...]:
    """A text of a graph -> a caption for each picture: one line for all of them, or a line for each.

    LikenessError for any other number of lines.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) not in (1, pictures):
        raise LikenessError(
            f"The captions have {len(lines)} lines for {pictures} pictures: write a line for each, or one for all."
        )
    cleaned = [clean_caption(line) for line in lines]
    return tuple(cleaned if len(cleaned) == pictures else cleaned * pictures)


def captions_of(texts: Sequence[str], who: Subject, clean: Callable[[str], str] = clean_caption) -> tuple[str, ...]:
    """Texts of any source as captions of one set."""
    return tuple(with_trigger(clean(text), who) for text in texts)
