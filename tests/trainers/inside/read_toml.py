"""What the trainer's TOML package makes of a file: argv is its path, as JSON."""

import json
import sys

import toml

if __name__ == "__main__":
    with open(json.loads(sys.argv[1]), encoding="utf-8") as file:
        print("\n" + json.dumps(toml.load(file)))
