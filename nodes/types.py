"""Socket types of Likeness."""

from comfy_api.latest import io

CharacterType = io.Custom("LIKENESS_CHARACTER")  # likeness.character.Character
ScoresType = io.Custom("LIKENESS_SCORES")  # tuple[likeness.scoring.Score, ...]
