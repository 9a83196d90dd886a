from __future__ import annotations

import re

import pytest
from hypothesis import given, settings

from likeness.errors import ProfileError
from likeness.profile import SCHEMA_VERSION, Profile, Reference
from likeness.profile_toml import MAX_BYTES, check, emit, migrate, parse

from .. import strategies

HEAD = 'schema_version = 1\nname = "Ada"\nslug = "ada"\n'
FULL = b"""
schema_version = 1
name = "Ada Ray"
slug = "ada_ray"
trigger = "adaray"
class_word = "woman"
description = "red hair, freckles"
negative = "hat"
notes = '''
by hand
'''
face_model = "buffalo_l"

[[references]]
file = "references/001.png"

[[references]]
file = "references/002.png"
weight = 0.5

[base.sd15]
method = "lora_faceid"
preset = "face_forward"

[[base.sd15.loras]]
file = "ada_ray/ada_v1.safetensors"
version = 1
active = false

[[base.sd15.loras]]
file = 'ada_ray\\ada_v2.safetensors'
version = 2
trained_on = "v1-5-pruned, 24 pictures"

[base.sd15.faceid]
adapter = "ip-adapter-faceid-plusv2_sd15.bin"

[base.sd15.strengths]
lora_model = 0.7
faceid_weight = 0.6
end = 0.9
source = "swept"

[base.sd15.sampling]
steps = 25
sampler = "dpmpp_2m"

[checkpoints.portrait]
file = "dreamshaper_8.safetensors"
family = "sd15"
"""


def findings(text: str | bytes, source: str = "ada/profile.toml") -> dict[str, str]:
    with pytest.raises(ProfileError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), source)
    assert str(caught.value).startswith(f"{source}: ")
    return {f.field: f.problem for f in caught.value.findings}


def test_a_full_profile_is_read() -> None:
    p = parse(FULL)
    assert (p.name, p.slug, p.references[1].weight, p.notes) == ("Ada Ray", "ada_ray", 0.5, "by hand\n")
    sd15 = p.settings("sd15")
    assert sd15.lora is not None and sd15.lora.version == 2
    assert (sd15.strengths.end, sd15.strengths.start, sd15.sampling.steps) == (0.9, None, 25)
    assert p.checkpoints["portrait"].family == "sd15"


@settings(max_examples=500, deadline=None)
@given(strategies.profiles)
def test_what_is_written_is_read_back(profile: Profile) -> None:
    assert parse(emit(profile)) == profile


def test_writing_is_stable_and_says_that_comments_are_lost() -> None:
    once = emit(parse(FULL))
    assert emit(parse(once)) == once
    assert once.startswith(b"# ") and b"comments are lost" in once


@pytest.mark.parametrize("number", [1e-7, 1e22, 0.1, -0.0, 5e-324, 3.0])
def test_numbers_keep_every_bit(number: float) -> None:
    profile = check(
        {"name": "Ada", "slug": "ada", "base": {"sd15": {"strengths": {"lora_model": min(number, 10.0)}}}}, "ada"
    )
    assert repr(parse(emit(profile)).base["sd15"].strengths.lora_model) == repr(min(number, 10.0))


@pytest.mark.parametrize(
    "text", ["\u2028." * 30, "'" + "." * 40, '"""', "'''", "\\", "a\nb\tc", "\x7f"[:0] + "#", "é 黒 🦊", "\\u0041"]
)
def test_awkward_prose_survives(text: str) -> None:
    profile = check({"name": "Ada", "slug": "ada", "description": text, "notes": text * 2}, "ada")
    assert parse(emit(profile)) == profile


def test_all_mistakes_come_at_once_each_with_its_field_and_the_remedy() -> None:
    found = findings(
        'nam = "Ada"\nslug = "Ada!"\ntriger = "x"\n[[references]]\nfile = "../x.png"\nweight = 11\n'
        '[base.sd15.strengths]\nlora_modl = 1.0\nstart = "early"\n[base.sd14]\n[[base.sdxl.loras]]\nversion = 0\n'
    )
    assert set(found) == {
        "name", "nam", "slug", "triger", "references[1].file", "references[1].weight", "base.sd15.strengths.lora_modl",
        "base.sd15.strengths.start", "base.sd14", "base.sdxl.loras[1].file", "base.sdxl.loras[1].version",
    }  # fmt: skip
    assert found["name"] == "is missing: add it"
    assert "did you mean `name`?" in found["nam"]
    assert "did you mean `lora_model`?" in found["base.sd15.strengths.lora_modl"]
    assert "relative" in found["references[1].file"]
    assert "not 11" in found["references[1].weight"]


@pytest.mark.parametrize(
    ("text", "field", "remedy"),
    [
        (HEAD + "trigger = 5", "trigger", "string, not 5"),
        (HEAD + 'trigger = "a\\nb"', "trigger", "write it on one line"),
        (HEAD + 'notes = "a\\u0001b"', "notes", "remove it"),
        (HEAD + "colour = 1", "colour", "known here: schema_version, name"),
        (HEAD + '[base.sd15]\nmethod = "magic"', "base.sd15.method", "lora_faceid"),
        (HEAD + '[base.sd15]\npreset = "loud"', "base.sd15.preset", "balanced"),
        (HEAD + "[base.sd15.sampling]\nsteps = 2.5", "base.sd15.sampling.steps", "integer"),
        (HEAD + '[base.sd15.sampling]\nsteps = "25"', "base.sd15.sampling.steps", "integer"),
        (HEAD + '[[references]]\nfile = "a.png"\nweight = "1"', "references[1].weight", "number"),
        (HEAD + '[[base.sd15.loras]]\nfile="a"\nversion=1\nactive="yes"', "base.sd15.loras[1].active", "boolean"),
        (HEAD + "[base.sd15.sampling]\ncfg = nan", "base.sd15.sampling.cfg", "finite"),
        (HEAD + "[base.sd15.strengths]\nstart = 0.9\nend = 0.1", "base.sd15.strengths", "swap them"),
        (HEAD + '[[references]]\nfile = "a.png"\n[[references]]\nfile = "a.png"', "", "a.png is listed twice"),
        (HEAD + '[[base.sd15.loras]]\nfile="a"\nversion=1\n[[base.sd15.loras]]\nfile="b"\nversion=2', "base.sd15",
        "on one"),
        (HEAD + '[[base.sd15.loras]]\nfile="a"\nversion=1\n[[base.sd15.loras]]\nfile="b"\nversion=1\nactive=false',
         "base.sd15", "its own number"),
        (HEAD + '[[base.sd15.loras]]\nfile="../a"\nversion=1', "base.sd15.loras[1].file", "inside its models folder"),
        (HEAD + '[checkpoints."../x"]\nfile = "a"\nfamily = "sd15"', "checkpoints.../x", "pattern"),
        (HEAD + "born = 1979-05-27", "born", "no such field"),
        (HEAD + "name = 1", "", "not valid TOML"),
        ("a = 1\nname = \n", "", "line 2"),
        (b"\xff\xfe", "", "save it as UTF-8"),
        ("x" * (MAX_BYTES + 1), "", "shorten"),
        (".".join("a" * 40) + " = 1", "", "write tables as [a.b]"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_what_to_do(text: str | bytes, field: str, remedy: str) -> None:
    found = findings(text)
    assert list(found) == [field]
    assert remedy in found[field]


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("99", "update Likeness"),
        ("2", "update Likeness"),
        ("0", "write schema_version = 1"),
        ("-1", "write schema_version = 1"),
        ('"1"', "write schema_version = 1"),
        ("true", "write schema_version = 1"),
        ("1.0", "write schema_version = 1"),
        ("0x" + "f" * 5000, "update Likeness"),
    ],
)
def test_a_schema_of_another_time_is_said_to_be_so(version: str, text: str) -> None:
    assert text in findings(f'schema_version = {version}\nname = "Ada"\nslug = "ada"\n')["schema_version"]


def test_an_old_file_is_brought_up_one_version_at_a_time() -> None:
    steps = {
        1: lambda t: {"title": t["name"], **{k: v for k, v in t.items() if k != "name"}},
        2: lambda t: {**t, "title": t["title"].upper()},
    }
    assert migrate({"schema_version": 1, "name": "Ada"}, "x", steps, 3) == {"schema_version": 3, "title": "ADA"}
    assert migrate({"schema_version": 2, "title": "Ada"}, "x", steps, 3) == {"schema_version": 3, "title": "ADA"}
    assert migrate({"schema_version": 3, "title": "Ada"}, "x", steps, 3) == {"schema_version": 3, "title": "Ada"}
    with pytest.raises(ProfileError, match="write schema_version = 3"):
        migrate({"schema_version": 0}, "x", steps, 3)


def test_a_file_without_a_version_is_taken_as_todays() -> None:
    assert parse(b'name = "Ada"\nslug = "ada"\n').schema_version == SCHEMA_VERSION


def test_a_mark_at_the_start_and_windows_lines_are_read() -> None:
    assert parse(b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode()).name == "Ada"


@pytest.mark.parametrize(
    "remark", ["# " + "." * 80, "  #" + "-." * 60, "# see www.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r"]
)
def test_dots_in_a_remark_are_only_dots(remark: str) -> None:
    assert parse(f"{remark}\n{HEAD}".encode()).name == "Ada"


@pytest.mark.parametrize(
    ("update", "text"),
    [
        ({"name": "A" * 81}, "at most 80"),
        ({"name": "A\u2028B"}, "one line"),
        ({"name": "\ud800"}, "profile.toml"),
        ({"notes": "黒" * 30_000}, "8000"),
        (
            {"references": tuple(Reference(file=f"{'x' * 120}/{n}", source="黒" * 150) for n in range(300))},
            "larger than 128 KB",
        ),
    ],
)
def test_a_profile_that_could_not_be_read_back_is_not_written(update: dict, text: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(text)):
        emit(parse(HEAD.encode()).model_copy(update=update))
