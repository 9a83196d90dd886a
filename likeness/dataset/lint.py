"""What in the captions of a set would train something else than is meant.

How sd-scripts reads a caption file: UTF-8 or the run dies; only the first line; a byte order mark becomes a part of the
trigger word; commas separate what shuffling moves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..errors import LikenessError, quoted
from ..profile import Profile
from .caption_tokens import LIMIT, CountTokens, estimate_tokens, limit_of
from .captions import Subject, is_identity, keep_tokens, read_caption, starts_with_trigger, subject_of, tags_of
from .configs import kohya
from .plan import SetPlan
from .planning import about

Severity = Literal["error", "warning", "note"]  # trains wrongly; trains worse; worth knowing
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Code = Literal[
    "encoding",
    "empty",
    "byte order mark",
    "line break",
    "no trigger",
    "trigger not first",
    "trigger in other letters",
    "shuffled trigger",
    "syntax",
    "other character",
    "binds",
    "too long",
    "shuffled sentence",
    "kept in place",
    "duplicate",
    "said twice",
]
Captions = Mapping[str, str]  # picture -> caption


@dataclass(frozen=True)
class Finding:
    """One thing about the captions."""

    code: Code
    severity: Severity
    text: str  # one sentence, without the pictures' names
    sources: tuple[str, ...]  # the pictures


@dataclass(frozen=True)
class LintRules:
    """What counts as a finding, and how the set will be trained."""

    share: float = 0.8  # 0..1; a phrase in that share of the captions takes over what it names
    least: int = 5  # pictures from which a share says something
    allowed: tuple[str, ...] = ()  # phrases that may stand in all captions
    others: tuple[str, ...] = ()  # names and trigger words of other characters
    tokens: int = LIMIT  # that the trainer reads: `limit_of(family)`
    count: CountTokens | None = field(default=None, repr=False)  # a real tokenizer; None: an estimate
    shuffle: bool = False  # shuffle_caption
    tag_dropout: float = 0.0  # caption_tag_dropout_rate, 0..1
    keep_tokens: int = 1  # parts between commas that are left in place
    wildcards: bool = False  # enable_wildcard


USUAL = LintRules()


def rules_for(plan: SetPlan, library: Iterable[Profile] = ()) -> LintRules:
    """The rules for how our own configs train the set. `library`: all characters, its own may be among them."""
    others = [word for p in library if p.slug != plan.slug for word in (p.name, about(p).trigger)]
    return LintRules(
        others=tuple(others),
        tokens=limit_of(plan.family),
        shuffle=kohya.shuffles(plan),
        keep_tokens=kohya.keep_tokens(plan),
    )


def lint(captions: Captions, who: Subject, rules: LintRules = USUAL) -> tuple[Finding, ...]:
    """Findings about captions in memory, errors first. `who`: trigger and class word."""
    found = [f for check in _CHECKS for f in check(captions, who, rules)]
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


def lint_plan(plan: SetPlan, rules: LintRules = USUAL) -> tuple[Finding, ...]:
    """Findings about the captions of a plan; those of regularisation pictures name the class alone, all of them."""
    found = lint({i.source: i.caption for i in plan.items}, plan, rules)
    return tuple(f for f in found if not plan.regular or f.code not in _OF_A_PERSON)


_OF_A_PERSON: tuple[Code, ...] = ("no trigger", "shuffled trigger", "kept in place", "binds", "duplicate")


def lint_files(files: Mapping[str, bytes], who: Subject, rules: LintRules = USUAL) -> tuple[Finding, ...]:
    """Findings about caption files as they lie on the disk: first how they are written, then what they say."""
    texts: dict[str, str] = {}
    unread: dict[str, list[str]] = {}
    for name, data in files.items():
        try:
            texts[name] = read_caption(data)
        except LikenessError as error:
            if data.strip():  # an empty one is a finding of its own
                unread.setdefault(str(error), []).append(name)
    found = [Finding("encoding", "error", text, tuple(names)) for text, names in unread.items()]
    found += [*_written(files), *lint(texts, who, rules)]
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


def _written(files: Mapping[str, bytes]) -> Iterator[Finding]:
    """How the bytes are written."""
    kinds: tuple[tuple[Code, str, Callable[[bytes], bool]], ...] = (
        ("encoding", "{n} not in UTF-8: sd-scripts ends with an error there.", _not_utf8),
        ("empty", "{n} without a word: sd-scripts ends with an error there.", lambda d: not d.strip()),
        ("byte order mark", "{n} with a byte order mark, which becomes a part of the trigger word.", _marked),
        ("line break", "{n} beginning with a blank line: sd-scripts trains without a caption.", _blank_first),
        ("line break", "{n} of several lines: sd-scripts reads only the first one.", _several_lines),
    )
    for code, text, test in kinds:
        names = tuple(name for name, data in files.items() if test(data))
        if names:
            yield Finding(code, "error", text.format(n=_files(len(names))), names)


def _not_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _marked(data: bytes) -> bool:
    return data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"))


def _blank_first(data: bytes) -> bool:
    return bool(data.strip()) and not data.splitlines()[0].removeprefix(b"\xef\xbb\xbf").strip()


def _several_lines(data: bytes) -> bool:
    return not _blank_first(data) and not _not_utf8(data) and len(data.strip().splitlines()) > 1


def _files(count: int) -> str:
    return "1 caption file" if count == 1 else f"{count} caption files"


def _n(count: int) -> str:
    return "1 caption" if count == 1 else f"{count} captions"


def _where(captions: Captions, test: Callable[[str], bool]) -> tuple[str, ...]:
    return tuple(source for source, text in captions.items() if test(text))


def _holds(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda caption: pattern.search(caption) is not None


def _empty(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    if names := _where(captions, lambda c: not c.strip()):
        yield Finding("empty", "error", f"{_n(len(names))} without a word: write at least the trigger word.", names)


def _lines(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    if names := _where(captions, lambda c: len(c.splitlines()) > 1 or c != c.rstrip("\r\n")):
        text = f"{_n(len(names))} with a line break: trainers read only the first line, or the break as well."
        yield Finding("line break", "error", text, names)
    if names := _where(captions, lambda c: "\ufeff" in c):
        text = f"{_n(len(names))} with a byte order mark, which becomes a part of the trigger word."
        yield Finding("byte order mark", "error", text, names)


def _trigger(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    trigger = " ".join(who.trigger.split())
    if not trigger:
        return
    word = _word(trigger)
    written = {s: c for s, c in captions.items() if c.strip()}
    absent = _where(written, lambda c: not word.search(c))
    if absent:
        text = f"{_n(len(absent))} without the trigger word {trigger!r}: what they show is learnt without it."
        yield Finding("no trigger", "error", text, absent)
    late = _where(written, lambda c: bool(word.search(c)) and not starts_with_trigger(c.lstrip("\ufeff"), who))
    if late:
        text = f"{_n(len(late))} with the trigger word {trigger!r} not first: it must begin every caption."
        yield Finding("trigger not first", "error", text, late)
    other = _where(written, lambda c: starts_with_trigger(c, who) and not c.startswith(trigger))
    if other:
        text = (
            f"{_n(len(other))} with the trigger word in other capitals than {trigger!r}: to some models another word."
        )
        yield Finding("trigger in other letters", "warning", text, other)


def _word(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(' '.join(text.split()))}(?!\w)", re.IGNORECASE)


def _shuffle(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    if not rules.shuffle and not rules.tag_dropout:
        return
    needed, kept = keep_tokens(who), rules.keep_tokens
    what = "Shuffling" if rules.shuffle else "Leaving out tags"
    if kept < needed:
        text = f"{what} with keep_tokens = {kept} takes the trigger word from its place: set keep_tokens to {needed}."
        yield Finding("shuffled trigger", "error", text, tuple(captions))
    more = _where(captions, lambda c: kept > needed and len(tags_of(c)) > needed)
    if more:
        text = f"{_n(len(more))} in which keep_tokens = {kept} holds more than the trigger in place; {needed} would do."
        yield Finding("kept in place", "note", text, more)
    sentences = _where(captions, lambda c: any(_SENTENCE.search(tag) for tag in tags_of(c)))
    if sentences:
        text = f"{_n(len(sentences))} in whole sentences, which {what.lower()} takes apart at their commas."
        yield Finding("shuffled sentence", "warning", text, sentences)


_SENTENCE = re.compile(r"\w[.!?] +\w|(?:\S+ +){8}\S")  # two sentences, or nine words in a row

_SYNTAX: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a choice like {a|b}", re.compile(r"\{[^{}]*\|[^{}]*\}")),
    ("a wildcard like __name__", re.compile(r"__[\w/-]+__")),
    ("a LoRA like <lora:name:1>", re.compile(r"<(?:lora|lyco|hypernet):[^>]*>", re.IGNORECASE)),
    ("a weight like (word:1.2)", re.compile(r"\([^()]*:\d*\.?\d+\)")),
    ("a separator |||", re.compile(r"\|\|\|")),
    ("a placeholder like [trigger]", re.compile(r"\[(?:trigger|name|filewords)\]", re.IGNORECASE)),
)


def _syntax(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    for n, (what, pattern) in enumerate(_SYNTAX):
        names = _where(captions, _holds(pattern))
        if names and n == 0 and rules.wildcards:
            text = f"{_n(len(names))} with {what}, of which sd-scripts trains one at a time; other trainers do not."
            yield Finding("syntax", "note", text, names)
        elif names:
            text = f"{_n(len(names))} with {what}, which is trained as it is written: write plain words."
            yield Finding("syntax", "warning", text, names)


def _others(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    own = subject_of(who).casefold()
    for name in dict.fromkeys(" ".join(n.split()) for n in rules.others):
        if not name or name.casefold() in _SMALL or _word(name).search(own):
            continue  # a character may be called like a word that says nothing
        if names := _where(captions, _holds(_word(name))):
            text = f"{_n(len(names))} with {quoted(name)}, another character: this one's look would join that word."
            yield Finding("other character", "warning", text, names)


def _binds(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    if len(captions) < rules.least:
        return
    held = _common(captions, who, rules)
    phrases = sorted(held.items(), key=lambda h: (-len(h[1]), h[0]))
    for phrase, names in phrases[:_MOST]:
        why = "a trait that never changes" if is_identity(phrase) else "what never changes"
        text = (
            f"{phrase!r} stands in {len(names)} of {len(captions)} captions: leave {why} out, or the look binds to "
            "these words instead of the trigger word."
        )
        yield Finding("binds", "warning", text, names)
    if len(phrases) > _MOST:
        text = f"{len(phrases) - _MOST} more phrases stand in most captions: the captions are nearly all alike."
        yield Finding("binds", "warning", text, ())


_WORDS = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_PARTS = re.compile(r"[,.;:!?()]+(?:\s|$)")
_LONGEST = 4  # words of a phrase
_MOST = 20  # phrases that are told one by one
_FEW = 10  # pictures; of fewer a phrase must stand in all, chance fills most of them
_SMALL = frozenset(
    "a an and are as at be by for from has have her hers him his in into is it its of on or she he they their the this "
    "that there to up very was were who with while".split()
)


def _common(captions: Captions, who: Subject, rules: LintRules) -> dict[str, tuple[str, ...]]:
    """Phrase -> captions that hold it, for those in `share` of them; of phrases inside each other the longest."""
    skipped = {w.casefold() for text in (who.trigger, who.class_word) for w in _WORDS.findall(text)}
    allowed = {" ".join(p.casefold().split()) for p in rules.allowed}
    where: dict[str, list[str]] = {}
    for source, caption in captions.items():
        for phrase in _phrases(_word(who.trigger).sub(" ", caption) if who.trigger.strip() else caption, skipped):
            where.setdefault(phrase, []).append(source)
    least = rules.share * len(captions) - 1e-9 if len(captions) >= _FEW else len(captions)
    held = {p: tuple(s) for p, s in where.items() if len(s) >= least and not any(f" {p} " in f" {a} " for a in allowed)}
    return {p: s for p, s in held.items() if not any(_within(p, q) and len(held[q]) == len(s) for q in held)}


def _within(short: str, long: str) -> bool:
    return short != long and f" {short} " in f" {long} "


def _phrases(caption: str, skipped: set[str]) -> set[str]:
    """Up to four words in a row that stand between two commas, without small words or the subject's at their ends."""
    found = set()
    for part in _PARTS.split(caption.casefold()):
        words = _WORDS.findall(part)
        for size in range(1, _LONGEST + 1):
            for at in range(len(words) - size + 1):
                some = words[at : at + size]
                ends = {some[0], some[-1]}
                if not ends & (_SMALL | skipped):
                    found.add(" ".join(some))
    return found


def _long(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    count = rules.count or estimate_tokens
    sizes = {source: count(caption) for source, caption in captions.items()}
    names = tuple(source for source, size in sizes.items() if size > rules.tokens)
    if names:
        most, sure = max(sizes.values()), "" if rules.count else "perhaps "
        text = (
            f"{_n(len(names))} of {sure}more than {rules.tokens} tokens ({most} in the longest): trainers leave out "
            "what comes later, unless max_token_length is raised."
        )
        yield Finding("too long", "warning", text, names)


def _twice(captions: Captions, who: Subject, rules: LintRules) -> Iterator[Finding]:
    counts = Counter(c.casefold() for c in captions.values() if c.strip())
    names = _where(captions, lambda c: counts[c.casefold()] > 1)
    if names:
        most = max(counts.values())
        much = len(captions) >= rules.least and len(names) >= len(captions) / 2
        text = f"{_n(len(names))} that stand at several pictures (one of them at {most}): name what is different."
        yield Finding("duplicate", "warning" if much else "note", text, names)
    again = _where(captions, lambda c: len({t.casefold() for t in tags_of(c)}) < len(tags_of(c)))
    if again:
        yield Finding("said twice", "note", f"{_n(len(again))} with one tag twice.", again)


_CHECKS = (_empty, _lines, _trigger, _shuffle, _syntax, _others, _binds, _long, _twice)


def lint_text(findings: tuple[Finding, ...], captions: int, shown: int = 5) -> str:
    """Findings for people; `shown`: pictures named for each."""
    if not findings:
        return f"{_n(captions)}: nothing to change."
    numbers = Counter(f.severity for f in findings)
    head = ", ".join(f"{numbers[s]} {s}{'s' if numbers[s] > 1 else ''}" for s in SEVERITIES if numbers[s])
    lines = [f"{_n(captions)}: {head}."]
    for finding in findings:
        more = len(finding.sources) - shown
        names = ", ".join(finding.sources[:shown]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"{finding.severity}: {finding.text}" + (f"\n    {names}" if names else ""))
    return "\n".join(lines)
