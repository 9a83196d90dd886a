"""Whether training configs mean what they say: argv is JSON {script, configs, files}; `files` are options for users.

Each key must be an option of the script, and each value what the command line would make of its text.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import toml
import torch


def main(script: str, configs: list, files: list) -> list:
    if not torch.cuda.is_available():
        torch.cuda.current_device = lambda: 0  # a default of a function in musubi-tuner
    parser = parser_of(importlib.import_module(script))
    assert set(files) <= {a.dest for a in parser._actions}, files
    return [check(parser, config) for config in configs]


def parser_of(module: ModuleType) -> argparse.ArgumentParser:
    if hasattr(module, "setup_parser"):
        return module.setup_parser()
    (own,) = (n for n in vars(module) if n.endswith("_setup_parser") and vars(module)[n].__module__ == module.__name__)
    return vars(module)[own](module.setup_parser_common())  # musubi-tuner


def check(parser: argparse.ArgumentParser, config: str) -> dict:
    table = toml.load(config)
    values = {k: v for section in table.values() for k, v in section.items()}
    actions = {a.dest: a for a in parser._actions}
    unknown = sorted(set(values) - set(actions))
    wrong = {k: repr(v) for k, v in values.items() if k in actions and not fits(actions[k], v)}
    return {"unknown": unknown, "wrong": wrong, "keys": len(values)}


def fits(action: argparse.Action, value: object) -> bool:
    if isinstance(action, argparse._StoreTrueAction):
        return value is True
    if action.nargs in ("*", "+"):
        return isinstance(value, list) and all(one(action, v) for v in value)
    return one(action, value)


def one(action: argparse.Action, value: object) -> bool:
    if action.choices is not None and value not in action.choices:
        return False
    try:
        read = (action.type or str)(str(value))
    except ValueError:
        return False
    if isinstance(read, Path):
        return isinstance(value, str)
    return (type(read) is type(value) or (isinstance(value, int) and isinstance(read, float))) and read == value


if __name__ == "__main__":
    sys.argv, question = sys.argv[:1], json.loads(sys.argv[1])
    print("\n" + json.dumps(main(**question)))
