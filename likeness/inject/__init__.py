"""Putting a character into any API-format workflow: found by its links, changed as little as possible, and told."""

from .insert import HOW, ApiGraph, Injected, Insert
from .kinds import ObjectInfo
from .placing import inject
from .trace import Encoder, Found, Sampler, found_in
from .workflow import Workflow, read_workflow, read_workflow_file

__all__ = [
    "HOW",
    "ApiGraph",
    "Encoder",
    "Found",
    "Injected",
    "Insert",
    "ObjectInfo",
    "Sampler",
    "Workflow",
    "found_in",
    "inject",
    "read_workflow",
    "read_workflow_file",
]
