"""Attack: the text of a profile is made to crash, to hang, or to be read as something it is not.

TOML parsers need quadratic time for dotted keys (40 KB took 6.4 s), recurse into nested values, and
Python refuses to print numbers of thousands of digits. Whatever the bytes: a Profile or a
ProfileError, soon.
"""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from likeness.errors import ProfileError
from likeness.profile import Profile
from likeness.profile_toml import emit, parse

from .. import strategies

ROUND_TRIPS, HOSTILE = 5_000, 5_000
SECONDS = 1.0  # for one file of any kind; what must not happen takes minutes
HEAD = 'schema_version = 1\nname = "Ada"\nslug = "ada"\n'


def read(data: bytes) -> Profile | None:
    start = time.process_time()
    try:
        profile = parse(data)
    except ProfileError as error:
        assert error.findings and len(str(error)) < 80_000
        profile = None
    assert time.process_time() - start < SECONDS
    return profile


def pool(count: int) -> list[Profile]:
    """Profiles drawn by Hypothesis, the same ones every time."""
    drawn: list[Profile] = []

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategies.profiles)
    def collect(profile: Profile) -> None:
        drawn.append(profile)

    collect()
    return drawn


def test_5000_profiles_come_back_equal() -> None:
    parents, rng = pool(150), random.Random(2)
    for _ in range(ROUND_TRIPS):
        child = parents[0].model_copy(
            update={name: getattr(rng.choice(parents), name) for name in Profile.model_fields}
        )
        assert parse(emit(child)) == child


@settings(max_examples=1_000, deadline=None)
@given(strategies.hostile_toml)
def test_drawn_text_is_a_profile_or_a_profile_error(data: bytes) -> None:
    read(data)


def test_4000_mutated_profiles_are_a_profile_or_a_profile_error() -> None:
    rng = random.Random(3)
    seeds = [emit(p) for p in pool(40)]
    pieces = [p.encode("utf-8", "surrogatepass") for p in strategies._PIECES]
    survived = 0
    for _ in range(HOSTILE - 1_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            change = rng.randrange(4)
            if change == 0:
                data[at : at + rng.randint(1, 8)] = b""
            elif change == 1:
                data[at:at] = rng.choice(pieces)
            elif change == 2:
                data[at:at] = b"\n" + rng.choice(pieces) + b"\n"
            else:
                data[at : at + 1] = bytes([rng.randrange(256)])
        survived += read(bytes(data)) is not None
    assert 0 < survived < HOSTILE - 1_000


SLOW = {
    "one dotted key": ".".join("a" * 20_000) + " = 1",
    "a dotted table": "[" + ".".join("a" * 20_000) + "]",
    "spaced dots": " . ".join("a" * 10_000) + " = 1",
    "quoted parts": ".".join(['"a"'] * 12_000) + " = 1",
    "single quoted parts": ".".join(["'a'"] * 12_000) + " = 1",
    "behind a string": 'x = {y = "", ' + ".".join("a" * 20_000) + " = 1}",
    "behind a prose mark in a remark": '# """\n' + ".".join("a" * 20_000) + " = 1",
    "behind a prose mark in a string": "x = \"'''\"\n" + ".".join("a" * 20_000) + " = 1",
    "behind the end of prose": 'x = {a = """\n""", ' + ".".join("b" * 20_000) + " = 1}",
    "behind a hash at the end of prose": "x = {a = '''\n#''', " + ".".join("b" * 20_000) + " = 1}",
    "many keys just short enough in pretended prose": '# """\n'
    + "\n".join(".".join([f"k{i}", *"a" * 249]) + " = 1" for i in range(125)),
    "many keys just short enough": "\n".join(".".join([f"k{i}", *"a" * 15]) + " = 1" for i in range(1_500)),
    "many tables": "\n".join(f"[t{i}.a.a.a.a.a.a]" for i in range(3_500)),
    "an array table many times": "[[base.sd15.loras]]\n" * 3_000,
    "references many times": '[[references]]\nfile = "a.png"\n' * 2_000,
    "deep arrays": "x = " + "[" * 30_000,
    "deep closed arrays": "x = " + "[" * 10_000 + "]" * 10_000,
    "deep inline tables": "x = " + "{a=" * 15_000,
    "many unknown fields": "\n".join(f"k{i} = 1" for i in range(7_000)),
    "long decimal": "x = " + "9" * 60_000,
    "long hexadecimal": "x = 0x" + "f" * 60_000,
    "long hexadecimal version": "schema_version = 0x" + "f" * 60_000,
    "long float": "x = 0." + "1" * 60_000,
    "long exponent": "x = 1e" + "9" * 60_000,
    "long string": 'x = "' + "a" * 60_000,
    "backslashes": 'x = "' + "\\" * 60_000,
    "quotes": '"' * 60_000,
    "apostrophes": "'" * 60_000,
    "quotes and backslashes": '"\\' * 30_000,
    "quotes, backslashes and dots": "." * 20 + '"\\' * 30_000,
    "apostrophes and quotes": "'\"" * 30_000,
    "strings that hide nothing": "\"a'.\"b'." * 6_000,
    "newlines": "\n" * 60_000,
    "carriage returns": "\r" * 60_000,
    "brackets": "[" * 60_000,
    "names": 'name = "' + "a" * 60_000 + '"',
    "long field name": "a" * 60_000 + " = 1",
    "one byte too many": "#" * (64 * 1024 + 1),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
def test_slow_text_is_answered_soon(name: str) -> None:
    text = SLOW[name]
    assert read(text.encode()) is None
    read((HEAD + text).encode())


def test_the_same_text_is_slow_for_the_parser_alone() -> None:
    from likeness.profile_toml import tomllib

    start = time.perf_counter()
    try:
        tomllib.loads(".".join("a" * 8_000) + " = 1")
        quadratic = time.perf_counter() - start > 0.05
    except RecursionError:  # newer parsers count the parts of a key themselves
        quadratic = False
    if not quadratic:
        pytest.skip("this TOML parser is not quadratic in dotted keys")
    with pytest.raises(ProfileError, match="dots"):
        parse((".".join("a" * 8_000) + " = 1").encode())
