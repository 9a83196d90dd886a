"""Routes: which checkpoint draws a character for a purpose, at a content rating.

    [checkpoints.closeups]            in a character's profile; [routes.closeups] in a project
    file = "sdxl/portraits.safetensors"
    family = "sdxl"
    purpose = "portrait"              "": the name above is the purpose
    rating = "general"                or "mature", "explicit"

Purpose and rating are said by whoever asks; nothing is read out of a prompt, and no rating stands in for another. A
rating other than "general" needs `adult = true` in the profile of everybody in the picture. A project has no such
field, so it cannot allow what a profile does not; nor does calling a checkpoint "general" in one place help, which is
rated otherwise in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from .assets import base_name
from .character import Character
from .errors import LikenessError, quoted
from .profile import RATINGS, NamedCheckpoint, Profile
from .projects import Project, generation_profile

GENERAL = RATINGS[0]
_SHOWN = 10


@dataclass(frozen=True)
class Route:
    """What was decided."""

    checkpoint: str  # as listed in models/checkpoints
    family: str  # base family as whoever named the checkpoint says, "" where nobody did
    why: str  # one sentence for people
    name: str = ""  # of the named checkpoint, "" for what a project uses without one
    default: bool = False  # what the project uses anyway, with its VAE

    def as_dict(self) -> dict[str, str]:
        return {"checkpoint": self.checkpoint, "family": self.family, "route": self.name, "why": self.why}


@dataclass(frozen=True)
class _Offer:
    """A checkpoint that can be asked for."""

    owner: str  # for people
    name: str
    purpose: str
    rating: str
    file: str
    family: str
    default: bool = False

    def __str__(self) -> str:
        if self.default:
            return f"the checkpoint of {self.owner} ({self.rating}, no purpose)"
        return f"{quoted(self.purpose, 40)} ({self.rating}, {self.owner})"


def route_of(
    profile: Profile | None,
    project: Project | None,
    purpose: str = "",
    rating: str = GENERAL,
    people: Sequence[Profile] | None = None,
) -> Route:
    """The checkpoint for this purpose at this rating.

    `people` is everybody in the picture (`profiles_behind`), None for the one of `profile` alone.

    The character's own named checkpoints come before the project's. For purpose "", rated "general", also what the
    project uses anyway. LikenessError when the rating is none of RATINGS or not allowed, when no checkpoint has that
    purpose at that rating (with those there are), and when several have it.
    """
    if people is None:
        people = () if profile is None else (profile,)
    check_rating(people, rating)
    wanted = _plain(purpose)
    offers = [list(_of_profile(profile)), list(_of_project(project)), list(_default(project, profile))]
    for level in offers:
        found = [offer for offer in level if offer.rating == rating and _plain(offer.purpose) == wanted]
        if len(found) > 1:
            names = " and ".join(offer.name for offer in found)
            raise LikenessError(f"{names} of {found[0].owner} are both for {_asked(purpose, rating)}: change one.")
        if found:
            _check_file(found[0], people, [*chain(*offers), *chain(*map(_of_profile, people))])
            return _route(found[0], purpose, rating)
    raise _none_found([offer for level in offers for offer in level], purpose, rating)


def check_rating(profiles: Sequence[Profile], rating: str) -> None:
    """LikenessError for an unknown rating, and for one other than "general" unless every character is an adult.

    A rating counts as it is written: "General" is none. Nobody in the picture is not an adult either.
    """
    if rating not in RATINGS:
        raise LikenessError(f"{quoted(rating)} is no content rating: choose one of {', '.join(RATINGS)}.")
    if rating == GENERAL:
        return
    if not profiles:
        raise LikenessError(
            f"The rating {rating!r} is for adult characters alone, and no character is given: give them all, or choose "
            f"{GENERAL!r}."
        )
    for profile in profiles:
        if profile.adult is not True:
            raise LikenessError(
                f"The rating {rating!r} is refused: the profile of {profile.name!r} does not say `adult = true`."
            )


def _check_file(chosen: _Offer, people: Sequence[Profile], offers: Iterable[_Offer]) -> None:
    """LikenessError where the file of a "general" checkpoint is rated otherwise elsewhere and not all are adults.

    Files count by their own name, as ComfyUI's users move them between folders.
    """
    if people and all(profile.adult is True for profile in people):
        return
    file = base_name(chosen.file).casefold()
    other = next((o for o in offers if o.rating != GENERAL and base_name(o.file).casefold() == file), None)
    if other is not None:
        told = f"{other.owner} rates it {other.rating} as {other.name!r}"
        who = next((quoted(profile.name) for profile in people if profile.adult is not True), "")
        if not who:
            raise LikenessError(f"{chosen.file} is refused without a character: {told}; name one that is an adult.")
        raise LikenessError(f"{chosen.file} is refused for {who}: {told}, and the profile does not say `adult = true`.")


def profiles_behind(characters: Iterable[Character]) -> tuple[Profile, ...]:
    """Of all people in a picture; those of a blend are the ones it was blended of."""
    behind = [part.character if part else c for c in characters for part in (c.parts or (None,))]
    return tuple(character.profile for character in behind)


def _of_profile(profile: Profile | None) -> Iterator[_Offer]:
    if profile is not None:
        yield from _named(profile.checkpoints.items(), f"character {profile.slug}")


def _of_project(project: Project | None) -> Iterator[_Offer]:
    if project is not None:
        yield from _named(project.routes.items(), f"project {project.slug}")


def _named(checkpoints: Iterable[tuple[str, NamedCheckpoint]], owner: str) -> Iterator[_Offer]:
    for name, c in checkpoints:
        yield _Offer(owner, name, c.purpose if c.purpose.strip() else name, c.rating, c.file, c.family)


def _default(project: Project | None, profile: Profile | None) -> Iterator[_Offer]:
    """What the project uses where no purpose is said."""
    if project is None:
        return
    name, special = generation_profile(project, profile)
    owner = f"profile {name} of project {project.slug}" if special.checkpoint else f"project {project.slug}"
    file, family = (special.checkpoint, special.family) if special.checkpoint else (project.checkpoint, project.family)
    if file:
        yield _Offer(owner, "", "", GENERAL, file, family or "", default=True)


def _route(offer: _Offer, purpose: str, rating: str) -> Route:
    what = f"as the checkpoint of {offer.owner}" if offer.default else f"as {offer.name!r} of {offer.owner}"
    return Route(offer.file, offer.family, f"{offer.file} {what}, {_asked(purpose, rating)}", offer.name, offer.default)


def _asked(purpose: str, rating: str) -> str:
    return f"{quoted(purpose.strip(), 40)} rated {rating}" if purpose.strip() else f"no purpose rated {rating}"


def _none_found(offers: Sequence[_Offer], purpose: str, rating: str) -> LikenessError:
    there = [str(offer) for offer in offers]
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    default = " set the project's checkpoint, or" if not _plain(purpose) and rating == GENERAL else ""
    return LikenessError(
        f"No checkpoint is named for {_asked(purpose, rating)}; there are {', '.join(there[:_SHOWN]) or 'none'}{more}:"
        f"{default} ask for one of these, or name one under [checkpoints] in the character's profile or [routes] in "
        "the project."
    )


def _plain(purpose: str) -> str:
    """Purposes are words of people: case and spaces do not tell them apart."""
    return " ".join(purpose.split()).casefold()
