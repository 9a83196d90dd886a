"""Where InsightFace's model packs lie, and which of their files is the detector and which the recogniser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelMissingError
from .onnx_graph import Graph, model_file

PREFERENCE = ("buffalo_l", "antelopev2", "buffalo_m", "buffalo_s", "buffalo_sc", "auraface")
DETECTORS = ("det_", "scrfd_")
RECOGNISERS = ("w600k_", "glintr100", "mobilefacenet", "arcface")
FACEID_RECOGNISER = "w600k_r50"  # buffalo_l's; h94's FaceID adapters were trained on its embeddings
UNUSED = ("1k3d68", "2d106det", "genderage", "inswapper")  # other tasks of the published packs, never opened
NON_COMMERCIAL = "InsightFace's models are for non-commercial research only"
MAX_PACKS = 200  # per folder that is searched


@dataclass(frozen=True)
class FacePack:
    """A detector and a recogniser that belong together."""

    name: str  # the pack's folder name, e.g. "buffalo_l"
    folder: Path  # where the files lie; one level deeper for a nested pack
    detector: Path
    recogniser: Path


@dataclass(frozen=True)
class KnownModel:
    """A published model file, recognised by its sha256."""

    name: str
    licence: str


_NC = "InsightFace, non-commercial research only"
KNOWN = {
    "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91": KnownModel("det_10g", _NC),
    "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9": KnownModel("det_2.5g", _NC),
    "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a": KnownModel("det_500m", _NC),
    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43": KnownModel("w600k_r50", _NC),
    "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f": KnownModel("w600k_mbf", _NC),
    "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf": KnownModel("glintr100 (antelopev2)", _NC),
    "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507": KnownModel(
        "MobileFaceNet (foamliu)", "Apache-2.0"
    ),
}


def known_model(sha256: str) -> KnownModel | None:
    return KNOWN.get(sha256)


SAMPLE = "likeness-sample"  # what made the faces of the bundled sample: nothing that can be installed


def find_packs(roots: Sequence[Path]) -> tuple[FacePack, ...]:
    """Every complete pack under the `insightface` model folders, the preferred ones first."""
    packs: dict[str, FacePack] = {}
    for name, folder in _pack_folders(roots):
        try:
            packs.setdefault(name, _pack(name, folder))
        except ModelMissingError:
            continue  # find_pack says what is wrong with it
    return tuple(sorted(packs.values(), key=lambda p: (_rank(p.name), p.name)))


def find_pack(name: str, roots: Sequence[Path]) -> FacePack:
    """The pack called `name`, or the preferred one for "auto". Raises ModelMissingError with the remedy."""
    packs = find_packs(roots)
    for pack in packs:
        if name in ("auto", pack.name):
            return pack
    for found, folder in _pack_folders(roots):
        if name in ("auto", found):
            _pack(found, folder)  # raises: this one is there, but not complete
    raise ModelMissingError(_not_found(name, roots, [p.name for p in packs]))


def choose_second(packs: Sequence[FacePack], first: str) -> str:
    """The pack for an independent figure beside `first`: another recogniser file, AuraFace before the others.

    ModelMissingError when there is none.
    """
    mine = next((model_file(p.recogniser).sha256 for p in packs if p.name == first), "")
    others = [p for p in packs if p.name != first and model_file(p.recogniser).sha256 != mine]
    if not others:
        raise ModelMissingError(
            f"There is no second face model beside {first}: put another pack, for example AuraFace (fal/AuraFace-v1, "
            "Apache-2.0), into models/insightface/models, or choose none."
        )
    return min(others, key=lambda p: (not p.name.lower().startswith("auraface"), _rank(p.name), p.name)).name


def _rank(name: str) -> int:
    lowered = name.lower()
    exact = [i for i, known in enumerate(PREFERENCE) if lowered == known]
    starts = [i for i, known in enumerate(PREFERENCE) if known == "auraface" and lowered.startswith(known)]
    return (exact + starts + [len(PREFERENCE)])[0]


def _pack_folders(roots: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(pack name, folder with its .onnx files) of everything that could be a pack."""
    for root in roots:
        for parent in (root / "models", root):
            for folder in _folders(parent):
                inner = folder if _onnx_files(folder) else folder / folder.name
                if _onnx_files(inner):
                    yield folder.name, inner


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))[:MAX_PACKS]
    except OSError:
        return []


def _onnx_files(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".onnx" and p.is_file())
    except OSError:
        return []


def _pack(name: str, folder: Path) -> FacePack:
    files = {path: _role(path) for path in _onnx_files(folder)}
    return FacePack(name, folder, _only(folder, files, "detector"), _only(folder, files, "recogniser"))


def _only(folder: Path, files: dict[Path, str], role: str) -> Path:
    fitting = [path for path, found in files.items() if found == role]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(path.name for path in fitting or files)
    if fitting:
        raise ModelMissingError(f"The face pack {folder} holds {len(fitting)} {role}s ({names}): keep one of them.")
    example = "det_10g.onnx" if role == "detector" else "w600k_r50.onnx"
    yunet = [path.name for path, found in files.items() if found == "yunet"]
    why = f" {yunet[0]} is a YuNet detector, which this pipeline does not run." if yunet and role == "detector" else ""
    raise ModelMissingError(
        f"The face pack {folder} has no face {role} (found: {names}).{why} "
        f"Put the pack's {role} there, for example {example}; {NON_COMMERCIAL}."
    )


def _role(path: Path) -> str:
    """ "detector", "recogniser", "yunet" or "" for one .onnx file: by published name, else by its graph."""
    name = path.name.lower()
    for role, starts in (("detector", DETECTORS), ("recogniser", RECOGNISERS), ("", UNUSED)):
        if name.startswith(starts):
            return role
    if "yunet" in name:
        return "yunet"
    try:
        return _role_of(model_file(path).graph)
    except ModelMissingError:
        return ""


def _role_of(graph: Graph) -> str:
    """InsightFace's own rule (model_zoo.py): five outputs and more detect, one output of a square recognises."""
    if len(graph.outputs) >= 5:
        return "yunet" if any(t.name.startswith(("cls_", "obj_")) for t in graph.outputs) else "detector"
    shape = graph.inputs[0].shape if len(graph.inputs) == 1 else ()
    square = len(shape) == 4 and shape[2] == shape[3] and shape[2] >= 112 and shape[2] % 16 == 0 and shape[2] != 192
    return "recogniser" if square and len(graph.outputs) == 1 else ""


def _not_found(name: str, roots: Sequence[Path], present: list[str]) -> str:
    if name == SAMPLE:
        return (
            "The faces of the sample character are made up, by no face model, so nothing can be measured against "
            "them: create a character from pictures of your own."
        )
    searched = ", ".join(str(root / "models") for root in roots) or "no folder at all"
    there = f"The packs found there: {', '.join(present)}." if present else "No pack was found there."
    wanted = "buffalo_l" if name == "auto" else name
    target = (roots[0] if roots else Path("models/insightface")) / "models" / wanted
    what = "There is no face model pack" if name == "auto" else f"There is no face model pack {name!r}"
    return (
        f"{what}. Searched: {searched}. {there} Put its .onnx files (for buffalo_l: det_10g.onnx and "
        f"w600k_r50.onnx) into {target}. {NON_COMMERCIAL}."
    )
