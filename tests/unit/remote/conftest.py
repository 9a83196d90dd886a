from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("aiohttp", reason="the pretended server needs it")

from likeness.remote import Timing

from .pretended_comfy import PretendedComfy

QUICK = Timing(
    look=0.005, look_most=0.05, check=0.1, back_off=0.05, back_off_most=0.2, patience=5.0, answer=5.0, closing=2.0
)
Make = Callable[..., PretendedComfy]


@pytest.fixture
def pretend() -> Iterator[Make]:
    """Makes and starts pretended servers."""
    made: list[PretendedComfy] = []

    def make(**options: object) -> PretendedComfy:
        made.append(PretendedComfy(**options).start())  # type: ignore[arg-type]
        return made[-1]

    yield make
    for server in made:
        server.stop()
