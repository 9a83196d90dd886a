"""What ComfyUI knows and Likeness asks: folders, files, tensors, the model at hand.

The only module that touches folder_paths.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch

from ..likeness import images
from ..likeness.assets import find_listed
from ..likeness.character import Character, state_digest
from ..likeness.dataset.tagger import Tagger, TaggerFiles, find_tagger, find_taggers
from ..likeness.doctor import Folders
from ..likeness.errors import LikenessError, ModelMissingError
from ..likeness.faces.cache import CachedAnalyser, EmbeddingCache
from ..likeness.faces.drawn import DrawnGate, gate_for
from ..likeness.faces.packs import FacePack, choose_second, find_pack, find_packs
from ..likeness.hashes import FileHashes
from ..likeness.library import Library
from ..likeness.lora_versions import Shelf
from ..likeness.paths import contained
from ..likeness.settings import read_settings

if TYPE_CHECKING:
    from ..likeness.scoring import LookMeasure
    from ..likeness.style import ImageEmbedder

AUTO = "auto"
BACKENDS = ("likeness", "insightface")
_STRIP = 1_000_000  # pixels that are converted at once
_FOLDERS = (
    "characters",
    "ipadapter",
    "insightface",
    "ccip",
    "yunet",
    "wd_tagger",
)  # ours, or registered by other packs too
FACE_FILES = "face_embeddings"
_hashes: list[FileHashes] = []  # at most one
_ccip: dict[tuple[Any, str], Any] = {}  # (files, provider) -> the open model; at most one
_opening = threading.Lock()  # of the analysers: the panel's threads ask for one while a graph runs
_analysers: dict[tuple[FacePack, str, str], CachedAnalyser] = {}  # the newest two: a pack holds up to 400 MB


def register_folders() -> None:
    """Add our folder keys beside whatever extra_model_paths.yaml or another pack has set."""
    for key in _FOLDERS:
        folder_paths.add_model_folder_path(key, os.path.join(folder_paths.models_dir, key))
    paths, extensions = folder_paths.folder_names_and_paths["ipadapter"]
    if not extensions:  # a new key lists every file
        folder_paths.folder_names_and_paths["ipadapter"] = (paths, set(folder_paths.supported_pt_extensions))
    for place in (os.path.join(folder_paths.models_dir, FACE_FILES), _reactor_folder()):
        folder_paths.add_model_folder_path(FACE_FILES, place)
    paths, _ = folder_paths.folder_names_and_paths[FACE_FILES]
    folder_paths.folder_names_and_paths[FACE_FILES] = (paths, {".safetensors"})


def _reactor_folder() -> str:
    """Where ReActor keeps its face models, and nowhere else."""
    return os.path.join(folder_paths.models_dir, "reactor", "faces")


def face_folder(form: str) -> Path:
    """Where a face file of that format is written."""
    return Path(_reactor_folder() if form == "reactor" else folder_paths.get_folder_paths(FACE_FILES)[0])


def output_folder() -> Path:
    """Where ComfyUI puts what graphs make."""
    return Path(folder_paths.get_output_directory())


def media_folder(name: str) -> Path:
    """A folder below ComfyUI's input or output folder, or below the one that a leading "input/" or "output/" names.

    LikenessError where there is none.
    """
    roots = {"input": Path(folder_paths.get_input_directory()), "output": output_folder()}
    first, _, rest = name.strip().strip("/").partition("/")
    places = [(roots[first], rest)] if first in roots and rest else [(root, name.strip()) for root in roots.values()]
    found = [path for path in (contained(root, *below.split("/")) for root, below in places) if path.is_dir()]
    if not found:
        raise LikenessError(f"There is no folder {name!r} below ComfyUI's input or output folder: check its name.")
    return found[0]


def library() -> Library:
    return Library([Path(p) for p in folder_paths.get_folder_paths("characters")], _keeps_crops)


def face_stamps() -> list[tuple[str, int, int]]:
    """(file, bytes, modification time in ns) of the stored faces of all characters."""
    found = [path for root in library().roots for path in sorted(root.glob("*/faces/*.safetensors"))]
    stats = [(str(path), path.stat()) for path in found if path.is_file()]
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


_changes = itertools.count()
_states: dict[str, tuple[str, str]] = {}  # slug -> (fingerprint given before a run of Create, state after it)


def seen_state(slug: str) -> str:
    """A fingerprint of a character that its own creation does not change, so that creating it runs once."""
    now = state_digest(library(), slug)
    given, after = _states.get(slug, ("", ""))
    if now != after:  # a number, because a character that was trashed is in the state it was before its creation
        given = f"{now} {next(_changes)}"
    _states[slug] = (given, now)
    return given


def remember_state(slug: str) -> None:
    """What a run of Create has just left is no edit."""
    now = state_digest(library(), slug)
    _states[slug] = (_states.get(slug, (now, now))[0], now)


def knows_folder(folder: str) -> bool:
    """Whether ComfyUI, or any pack, has a folder of that name below models/."""
    return folder in folder_paths.folder_names_and_paths


def listed(folder: str) -> list[str]:
    """File names in models/<folder> as ComfyUI lists them; [] where the folder does not exist."""
    return folder_paths.get_filename_list(folder)


def find_file(folder: str, wanted: str, what: str) -> Path:
    """Path of a file named in a profile or a widget. ModelMissingError when it is not among the listed ones."""
    name = find_listed(wanted, listed(folder), what, folder, folder_paths.get_folder_paths(folder))
    return Path(folder_paths.get_full_path_or_raise(folder, name))


def embedding_folders() -> list[str]:
    """Where a checkpoint's text encoder looks for textual inversions."""
    return folder_paths.get_folder_paths("embeddings")


def lora_shelf() -> Shelf:
    """Where LoRAs lie and where a character's go."""

    def find(name: str) -> Path | None:
        try:
            return find_file("loras", name, "The LoRA")
        except ModelMissingError:
            return None

    return Shelf(Path(folder_paths.get_folder_paths("loras")[0]), find)


def file_stamps(folder: str) -> list[tuple[str, int, int]]:
    """(name, bytes, modification time in ns) of every listed file; changes with any of them."""
    paths = {name: folder_paths.get_full_path(folder, name) for name in listed(folder)}
    stats = {name: Path(path).stat() for name, path in paths.items() if path}
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in sorted(stats.items())]


def stamps_named(names: Iterable[str]) -> list[tuple[str, str, int, int]]:
    """(folder, name, bytes, modification time in ns) of the model files of those names, in whatever folder they lie."""
    wanted, found = set(names), []
    for folder in sorted(folder_paths.folder_names_and_paths) if wanted else []:
        for name in sorted(wanted & set(listed(folder))):
            about = find_file(folder, name, "The model file").stat()
            found.append((folder, name, about.st_size, about.st_mtime_ns))
    return found


def model_stamps() -> str:
    """Changes with any file that an applied character is made of."""
    return digest_of([file_stamps(folder) for folder in ("ipadapter", "loras", "clip_vision")])


def digest_of(values: object) -> str:
    """16 hex digits. ComfyUI writes a node's fingerprint into every picture, where no list of files belongs."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def file_hashes() -> FileHashes:
    if not _hashes:
        _hashes.append(FileHashes(_private_folder() / "hashes.json"))
    return _hashes[0]


def identity_folder() -> Path:
    """Where compiled identities of characters lie that have no folder of their own."""
    return _private_folder() / "identity"


def face_cache() -> EmbeddingCache:
    """Faces of pictures that were analysed before; nothing is added to it where only vectors may be kept."""
    return EmbeddingCache(_private_folder() / "faces", _keeps_crops)


def _keeps_crops() -> bool:
    return read_settings(settings_file()).keep_crops


def settings_file() -> Path:
    """What the user has set for all of Likeness."""
    return _private_folder() / "settings.json"


def input_folder() -> Path:
    """Where ComfyUI puts what is uploaded."""
    return Path(folder_paths.get_input_directory())


def folders() -> Folders:
    """Where each kind of file is looked for."""
    return Folders(**{name: tuple(_roots(name)) for name in Folders.__dataclass_fields__})


def prompt_server() -> Any:
    """ComfyUI's server; None where there is none."""
    from server import PromptServer  # loads all of ComfyUI's server where there is none yet

    return getattr(PromptServer, "instance", None)


def _private_folder() -> Path:
    """ComfyUI never serves what lies here."""
    return Path(folder_paths.get_system_user_directory("likeness"))


def face_packs() -> tuple[FacePack, ...]:
    return find_packs(_face_roots())


def _face_roots() -> list[Path]:
    return _roots("insightface")


def _roots(folder: str) -> list[Path]:
    return [Path(p) for p in folder_paths.get_folder_paths(folder)]


def analyser(pack_name: str = "", provider: str = "cpu", backend: str = BACKENDS[0]) -> CachedAnalyser:
    """The face model of that name, the best installed for "" or "auto". ModelMissingError when there is none."""
    # Not at start-up: most graphs never analyse a face.
    from ..likeness.faces.analyser import OnnxAnalyser
    from ..likeness.faces.insightface_backend import InsightFaceAnalyser

    pack = find_pack(pack_name or AUTO, _face_roots())
    key = (pack, provider, backend)
    with _opening:
        if key not in _analysers:
            while len(_analysers) > 1:
                _analysers.pop(next(iter(_analysers)))
            kind = OnnxAnalyser if backend == BACKENDS[0] else InsightFaceAnalyser
            _analysers[key] = CachedAnalyser(kind(pack, provider), face_cache(), stop_if_interrupted)
        return _analysers[key]


def drawn_gate(engine: CachedAnalyser) -> DrawnGate:
    """The gate that tells drawn faces; what its anchor is under a face model is kept beside the face cache."""
    return gate_for(engine.inner, _private_folder() / "faces")


def look_for_drawn(character: Character, embedder: ImageEmbedder | None, provider: str = "cpu") -> LookMeasure | None:
    """What compares drawn characters: CCIP where its files are, else the image encoder, else None."""
    # Not at start-up: few characters are drawn.
    from ..likeness.ccip import Ccip, find_ccip
    from ..likeness.faces.yunet import YuNet, find_yunet
    from ..likeness.looks import look_for

    found, detector = find_ccip(_roots("ccip")), find_yunet(_roots("yunet"), _face_roots())
    if found is not None and (found, provider) not in _ccip:
        _ccip.clear()
        _ccip[found, provider] = Ccip(found, provider)
    return look_for(
        character,
        ccip=None if found is None else _ccip[found, provider],
        embedder=embedder,
        yunet=None if detector is None else partial(YuNet.open, detector, provider),
    )


def taggers() -> list[TaggerFiles]:
    """WD taggers in models/wd_tagger."""
    return find_taggers(_roots("wd_tagger"))


def tagger(name: str) -> Tagger:
    """The one of that name, or the newest kind for "auto". ModelMissingError."""
    found = find_tagger(_roots("wd_tagger"), "" if name == AUTO else name)
    if found is None:
        raise ModelMissingError(
            f"There is no WD tagger{'' if name == AUTO else f' {name!r}'} in models/wd_tagger: put a folder with "
            "model.onnx and selected_tags.csv there."
        )
    return Tagger(found)


def second_analyser(pack_name: str, first: str, provider: str = "cpu") -> CachedAnalyser:
    """Another face model than `first`: the one of that name, for "auto" the best other one."""
    if pack_name != AUTO:
        return analyser(pack_name, provider)
    return analyser(choose_second(face_packs(), first), provider)


def to_pixels(batch: torch.Tensor) -> list[images.RGB8]:
    """IMAGE float [B, H, W, C] -> B pictures uint8 [H, W, 3]."""
    return [_pixels(image) for image in batch]


def _pixels(image: torch.Tensor) -> images.RGB8:
    """In strips, because a large picture takes seconds and the user may stop."""
    height, width = image.shape[:2]
    rows = max(_STRIP // max(width, 1), 1) if height * width <= images.MAX_PIXELS else height
    strips = []
    for top in range(0, max(height, 1), rows):
        stop_if_interrupted()
        strips.append(images.from_float(image[top : top + rows].float().cpu().numpy()))
    return strips[0] if len(strips) == 1 else np.concatenate(strips)


def to_layers(batch: torch.Tensor) -> list[images.Layers]:
    """IMAGE float [B, H, W, C] -> B pictures; a fourth channel is their opacity."""
    return [images.layers_from_float(image.float().cpu().numpy()) for image in batch]


def to_alpha(batch: torch.Tensor) -> list[images.A8]:
    """MASK float [B, H, W] or [H, W] -> uint8 [H, W] each, 255 where the mask is 1."""
    return [images.alpha_from_float(m.float().cpu().numpy()) for m in batch.reshape(-1, *batch.shape[-2:])]


def to_image(pictures: list[images.RGB8]) -> torch.Tensor:
    """Pictures of one size, uint8 [H, W, 3] -> IMAGE float32 [B, H, W, 3]."""
    return torch.from_numpy(np.stack([images.to_float(p) for p in pictures]))


def show_text(text: str, node_id: str | None) -> None:
    """Write a text on a node, in both of the editor's renderers."""
    if node_id and (server := prompt_server()) is not None:
        server.send_progress_text(text, node_id)


def stop_if_interrupted() -> None:
    """Raises what ComfyUI raises when the user has pressed stop."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def progress(total: int) -> Any:
    """A callback for the number done; shows it in the editor and stops when the user interrupts."""
    bar = comfy.utils.ProgressBar(total)

    def step(done: int) -> None:
        stop_if_interrupted()
        bar.update_absolute(done, total)

    return step


_IMAGE_MODELS = {  # ComfyUI's name for an architecture -> base family
    "flux": "flux",
    "flux2": "flux2",
    "chroma": "chroma",
    "chroma_radiance": "chroma",
    "qwen_image": "qwen_image",
    "lumina2": "z_image",
    "hunyuan_video": "hunyuan_video",
    "wan2.1": "wan",
}


def family_of(model: Any) -> str:
    """Base family of a MODEL, "other" where Likeness has no name for it."""
    config = getattr(model.model.model_config, "unet_config", {})
    if config.get("image_model"):
        return _IMAGE_MODELS.get(config["image_model"], "other")
    if type(model.model.model_config).__name__ == "SD3":
        return "sd3"
    key = (config.get("context_dim"), config.get("adm_in_channels"))
    return {(768, None): "sd15", (2048, 2816): "sdxl"}.get(key, "other")
