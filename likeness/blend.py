"""Two or more characters as one: a face between theirs.

A blend lives in memory. It has a face and nothing else of its own: no LoRA and no trigger word, because those draw one
of its people, and no strengths, because those were tuned for one of them. Its class word is theirs where they agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .character import Character, Part, faces_of_parts
from .errors import FaceError, quoted
from .faces.face import Pipeline, cosine
from .paths import MAX_SLUG, slug_of
from .profile import Profile
from .profile_toml import check

MAX_NAME = 80  # of a profile


def blend(characters: Sequence[tuple[Character, float]]) -> Character:
    """The blend of (character, weight) pairs; a character's share is its weight over the sum of all weights.

    The share is the whole character's, however many references it has: `identity.blend_faces`. Order does not matter,
    and a blend among them counts as its characters with their shares multiplied, so how blends are nested does not
    matter either. A character whose share is all has its own faces, unchanged.

    FaceError for a weight that is negative or no number, for weights that are all 0, for a character without a face,
    and for faces by different recognisers.
    """
    parts = _parts(characters)
    pipeline = common_pipeline([part.character for part in parts])
    parts, notes = _presumed(parts, pipeline)
    faces = faces_of_parts(parts)
    return Character(_profile(parts, pipeline), None, pipeline, faces, (), notes, parts)


def blend_report(character: Character) -> str:
    """For people: each character's share, its similarity to the blend, -1..1, and the notes, a line each."""
    vector = character.identity.vector
    rows = [(p.character.profile.name, p.share, cosine(p.character.identity.vector, vector)) for p in character.parts]
    lines = [f"{name}: share {share:.3g}, similarity to the blend {alike:.2f}" for name, share, alike in rows]
    return "\n".join([*lines, *character.notes])


def _parts(characters: Sequence[tuple[Character, float]]) -> tuple[Part, ...]:
    """Plain characters with shares that add up to 1, in an order that does not depend on the given one."""
    for character, weight in characters:
        if not _is_weight(weight):
            raise FaceError(
                f"The weight of {character.profile.name!r} in the blend is {quoted(weight)}: give a number, 0 or more."
            )
    largest = max((float(weight) for _, weight in characters), default=0.0)
    if largest == 0:
        raise FaceError("All weights of the blend are 0, so nobody is left: give one character a weight above 0.")
    people: dict[str, tuple[Character, list[float]]] = {}
    for character, weight in characters:
        for part in character.parts or (Part(character, 1.0),):
            share = part.share * (weight / largest)
            people.setdefault(part.character.digest, (part.character, []))[1].append(share)
    shares = {digest: math.fsum(sorted(given)) for digest, (_, given) in people.items()}
    total = math.fsum(sorted(shares.values()))
    found = sorted((person.slug, digest) for digest, (person, _) in people.items())
    # Rounded, so that one blend by two ways of nesting has one digest and is compiled once.
    rounded = [(people[digest][0], round(shares[digest] / total, 12)) for _, digest in found]
    return tuple(Part(person, share) for person, share in rounded if share > 0)


def _is_weight(weight: float) -> bool:
    try:
        return math.isfinite(weight) and weight >= 0
    except (TypeError, OverflowError):
        return False


def common_pipeline(characters: Sequence[Character]) -> Pipeline:
    """What made the faces of all: one recogniser, or an unknown one, which is given the benefit of the doubt.

    FaceError for a character without a face, for two recognisers, and for embeddings of two lengths.
    """
    made = []
    for character in characters:
        _ = character.identity  # FaceError for one without a face
        if character.pipeline is not None:
            made.append((character.slug, character.pipeline))
    known = {pipeline.recogniser: pipeline for _, pipeline in made if pipeline.recogniser}
    if len(known) > 1 or len({pipeline.dim for _, pipeline in made}) > 1:
        by = ", ".join(f"{slug} by {pipeline.pack or 'an unknown face model'}" for slug, pipeline in made)
        raise FaceError(
            f"Faces of different recognisers cannot be compared or blended ({by}): their numbers have nothing in "
            "common. Create the characters with one face model."
        )
    return next(iter([*known.values(), *(pipeline for _, pipeline in made)]))


def _presumed(parts: Sequence[Part], pipeline: Pipeline) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Faces of an unknown recogniser count as the others' from here on; a note says so."""
    taken, notes = [], []
    for part in parts:
        character = part.character
        notes += [f"{character.profile.name}: {note}" for note in character.notes]
        if pipeline.recogniser and character.pipeline is not None and not character.pipeline.recogniser:
            notes.append(f"{character.profile.name}: its recogniser is unknown; it was taken for {pipeline.pack}'s.")
            character = replace(character, pipeline=pipeline)
        taken.append(Part(character, part.share))
    return tuple(taken), tuple(notes)


def _profile(parts: Sequence[Part], pipeline: Pipeline) -> Profile:
    profiles = [part.character.profile for part in parts]
    words = {profile.class_word for profile in profiles}
    name = " + ".join(profile.name for profile in profiles)
    slug = slug_of("_".join(profile.slug for profile in profiles)[:MAX_SLUG])
    shares = ", ".join(f"{p.name} {part.share:.3g}" for p, part in zip(profiles, parts, strict=True))
    values = {
        "name": name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}...",
        "slug": slug,
        "class_word": words.pop() if len(words) == 1 else "",
        "face_model": pipeline.pack,
        "notes": f"Blend of {shares}"[:2000],
    }
    return check(values, f"blend {name[:MAX_NAME]!r}")
