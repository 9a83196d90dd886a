"""Likeness for ComfyUI. Nothing is imported until ComfyUI asks for the nodes."""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint() -> object:
    from .nodes.extension import LikenessExtension

    return LikenessExtension()
