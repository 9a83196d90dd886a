"""Pictures whose colours a training set reads otherwise than a score does."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageCms

from likeness.images import RGB8


def save_in_other_colours(path: Path, picture: RGB8) -> None:
    """With a colour profile in which red and blue have changed places, as Display P3 has other primaries than sRGB."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    Image.fromarray(picture).save(path, icc_profile=profile)
