"""How a trainer reads sample prompts: argv is JSON {module, files, weights}; `weights`: as its pictures are drawn."""

import importlib
import json
import sys


def main(module: str, files: list, weights: bool) -> list:
    load = importlib.import_module(module).load_prompts
    return [[meant(prompt, weights) for prompt in load(file)] for file in files]


def meant(prompt: dict, weights: bool) -> dict:
    if not weights:
        return prompt
    from library.lpw_stable_diffusion import parse_prompt_attention

    parts = parse_prompt_attention(prompt["prompt"])
    assert all(weight == 1.0 for _, weight in parts), parts
    return {**prompt, "prompt": "".join(text for text, _ in parts)}


if __name__ == "__main__":
    print("\n" + json.dumps(main(**json.loads(sys.argv[1]))))
