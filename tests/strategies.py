"""Hypothesis strategies: names, profiles, and text that only looks like a profile."""

from __future__ import annotations

from hypothesis import strategies as st

from likeness.paths import is_reserved
from likeness.profile import (
    FAMILIES,
    METHODS,
    PRESETS,
    BaseSettings,
    Calibration,
    Comparison,
    FaceIDAssets,
    LoraVersion,
    NamedCheckpoint,
    Profile,
    Reference,
    Sampling,
    Strengths,
    SweepEvidence,
)

# ---- names

_TRICKS = (
    "..", ".", "/", "\\", "\0", "~", "%2e%2e", "%2f", "..%2f", "\uff0e\uff0e", "\u2024\u2024", "\u2215", "\uff0f",
    "C:", "\\\\host\\share", "//host/share", ":ads", "::$DATA", "NUL", "con", "COM1", "aux.txt", "link", "base-evil",
    "sub", "a", "ada", " ", "\n", "\r", "\u202e", "é", "profile.toml", "/etc", "..\\", "....//", "A" * 300,
)  # fmt: skip
hostile_names = st.one_of(
    st.lists(st.sampled_from(_TRICKS), min_size=1, max_size=6).map("".join),
    st.lists(st.sampled_from(_TRICKS), min_size=1, max_size=6).map("/".join),
    st.text(max_size=40),
    st.text(alphabet="./\\ab-_%0", max_size=24),
)
slugs = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,15}", fullmatch=True).filter(lambda s: not is_reserved(s))

# ---- profiles


def _printable(keep: str) -> st.SearchStrategy[str]:
    return st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from(keep)


lines = st.text(_printable("'\"#.=\\[]"), max_size=40)
texts = st.text(_printable("'\"#.=\\[]\n\t\u2028\u2029"), max_size=120) | st.sampled_from(
    ["." * 40, "\u2028".join(["'" + "." * 20] * 3), '"""' + "." * 40, "\\u0041", "# not a comment", "a\nb\n", "'''"]
)
_part = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._ +()-]{0,20}", fullmatch=True).filter(
    lambda p: not p.endswith((" ", ".")) and ".." not in p and not is_reserved(p)
)
in_folder = st.lists(_part, min_size=1, max_size=3).map("/".join)
_model_part = st.text(_printable(" .'\""), min_size=1, max_size=12).filter(
    lambda p: p not in (".", "..") and not any(c in p for c in "/\\:")
)
model_files = st.lists(_model_part, min_size=1, max_size=3).map("/".join)
shares = st.floats(0.0, 1.0)


def _optional(of: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | of


cosines = st.floats(-1, 1)
references = st.builds(Reference, file=in_folder, weight=st.floats(0.0, 10.0))
comparisons = st.builds(
    Comparison,
    date=lines,
    tool=lines,
    pictures=st.integers(1, 100_000),
    seeds=lines,
    rate=_optional(shares),
    similarity=_optional(cosines),
    measurable=st.integers(0, 10**6),
    copies=st.integers(0, 10**6),
    against=lines,
    against_rate=_optional(shares),
    against_similarity=_optional(cosines),
    against_measurable=st.integers(0, 10**6),
    against_copies=st.integers(0, 10**6),
    better=st.integers(0, 10**6),
    worse=st.integers(0, 10**6),
    p=_optional(shares),
    face_model=lines,
    conditioned=st.booleans(),
    switched=st.booleans(),
    verdict=texts,
)
loras = st.lists(
    st.builds(LoraVersion, file=model_files, version=st.integers(1, 9999), trained_on=lines, notes=texts,
    active=st.booleans(), sha256=st.just("") | st.from_regex(r"[0-9a-f]{64}", fullmatch=True), date=lines,
    base_model=lines, training_set=lines, steps=_optional(st.integers(0, 10**9)),
    rank=_optional(st.integers(1, 65536)), alpha=_optional(st.floats(-1e6, 1e6)), comparison=_optional(comparisons)),
    max_size=3,
    unique_by=lambda v: v.version,
).map(lambda vs: tuple(v.model_copy(update={"active": v.active and i == 0}) for i, v in enumerate(vs)))  # fmt: skip
_window = st.tuples(_optional(shares), _optional(shares)).map(
    lambda w: {"start": min(w), "end": max(w)} if None not in w else {"start": w[0], "end": w[1]}
)
strengths = st.builds(
    lambda window, **rest: Strengths(**window, **rest),
    _window,
    lora_model=_optional(st.floats(-10.0, 10.0)),
    lora_clip=_optional(st.floats(-10.0, 10.0)),
    faceid_weight=_optional(st.floats(-1.0, 5.0)),
    faceid_weight_v2=_optional(st.floats(-1.0, 5.0)),
    companion_lora=_optional(st.floats(-10.0, 10.0)),
    source=st.sampled_from(["preset", "swept", "hand"]),
)
sampling = st.builds(
    Sampling,
    steps=_optional(st.integers(1, 1000)),
    cfg=_optional(st.floats(0.0, 100.0)),
    sampler=_optional(lines),
    scheduler=_optional(lines),
    width=_optional(st.integers(16, 16384)),
    height=_optional(st.integers(16, 16384)),
    denoise=_optional(shares),
)
_cosines = st.none() | st.floats(-1, 1)
_distances = st.none() | st.floats(0, 2)
evidence = st.builds(
    SweepEvidence,
    date=lines,
    tool=lines,
    rule=texts,
    checkpoint=lines,
    mode=st.sampled_from(["halving", "full"]),
    cells=st.integers(1, 400),
    renders=st.integers(1, 4000),
    seeds=st.integers(1, 64),
    prompts=st.integers(1, 16),
    likeness=st.floats(-1, 1),
    control_likeness=_cosines,
    measurable=shares,
    copies=st.integers(0, 4000),
    prompt_score=_cosines,
    control_prompt_score=_cosines,
    variety=_distances,
    control_variety=_distances,
    variety_measure=lines,
    face_model=lines,
    conditioned=st.booleans(),
    folder=lines,
)
settings_of_a_base = st.builds(
    BaseSettings,
    method=st.sampled_from(["auto", *METHODS]),
    preset=st.sampled_from(PRESETS),
    loras=loras,
    faceid=st.builds(FaceIDAssets, adapter=_optional(model_files), companion_lora=_optional(model_files)),
    strengths=strengths,
    sampling=sampling,
    sweep=_optional(evidence),
)
checkpoints = st.builds(NamedCheckpoint, file=model_files, family=st.sampled_from(FAMILIES), purpose=lines)
shares = st.floats(0, 1)
calibrations = st.builds(
    Calibration,
    face_model=lines,
    recogniser=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    references=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    threshold=st.floats(0.0, 0.25),  # between strangers and the character, as the profile wants it
    genuine_mean=st.floats(0.26, 1.0),
    genuine_spread=shares,
    genuine_min=cosines,
    impostor_mean=st.floats(-1.0, -0.01),
    impostor_spread=shares,
    impostor_max=cosines,
    false_reject=shares,
    false_accept=shares,
    nearest_character=lines,
    nearest_similarity=st.none() | cosines,
    margin=st.none() | st.floats(-2, 2),
    reference_count=st.integers(0, 500),
    impostor_count=st.integers(0, 10**6),
    same_person=lines,
    date=lines,
    tool=lines,
)
profiles = st.builds(
    Profile,
    name=lines.filter(bool),
    slug=slugs,
    trigger=lines,
    class_word=lines,
    description=texts,
    negative=texts,
    notes=texts,
    face_model=lines,
    references=st.lists(references, max_size=4, unique_by=lambda r: r.file).map(tuple),
    base=st.dictionaries(st.sampled_from(FAMILIES), settings_of_a_base, max_size=2),
    checkpoints=st.dictionaries(slugs, checkpoints, max_size=2),
    calibrations=st.lists(calibrations, max_size=2).map(tuple),
)

# ---- text that only looks like a profile

_PIECES = (
    'schema_version = 1', 'schema_version = 99', 'schema_version = -1', 'schema_version = "1"', 'schema_version = true',
    'schema_version = 0x' + 'f' * 5000, 'name = "Ada"', 'slug = "ada"', 'slug = "../ada"', 'slug = "NUL"',
    'trigger = "a\\u0000b"', 'trigger = "a\\nb"', 'negative = """', "notes = '''", '"""', "'''", '[base.sd15]',
    '[base.flux.strengths]', 'start = 0.9', 'end = 0.1', 'start = nan', 'end = inf', '[[references]]',
    'file = "../../x.png"', 'file = "/etc/passwd"', 'file = "references/001.png"', 'file = 7', 'weight = -1',
    'weight = 1e400', '[[base.sd15.loras]]', 'version = 1', 'active = true', 'a = ' + '[' * 400, 'a = ' + '{a=' * 200,
    '.'.join('a' * 15) + ' = 1', '.'.join('a' * 60) + ' = 1', '# ' + '.' * 90, 'date = 1979-05-27T07:32:00Z',
    'x = 07:32:00', 'x = ' + '9' * 5000, '[checkpoints.main]', 'family = "sd15"', '\ufeff', '\r', 'name', '= 1', '[]',
    '[[', 'x = "\\ud800"', 'base = 5', 'references = "no"', 'references = [1, {file = "a.png"}]', '"" = 1', "'.' = 1",
    'base.sd15.strengths.start = 2', '[base."sd15"]', '"base".sd15.preset = "loud"', 'checkpoints = {a = 1}',
)  # fmt: skip
hostile_toml = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from(_PIECES), max_size=14).map(lambda p: "\n".join(p).encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from(_PIECES), max_size=8).map(
        lambda p: ('schema_version = 1\nname = "Ada"\nslug = "ada"\n' + "\n".join(p)).encode("utf-8", "surrogatepass")
    ),
)
