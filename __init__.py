"""Likeness for ComfyUI. Nothing is imported until ComfyUI asks for the nodes."""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint() -> object:
    from .nodes import host
    from .nodes.extension import LikenessExtension
    from .nodes.panel_backend import PanelBackend
    from .server.routes import add_routes

    def serve() -> None:
        if (server := host.prompt_server()) is not None:
            add_routes(server.routes, PanelBackend())

    return LikenessExtension(serve)
