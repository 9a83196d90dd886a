"""What `likeness generate` adds to each picture, against a server that draws in no time; wall time, paired.

    python benchmarks/queue_overhead.py [--pictures 60] [--kilobytes 1500] [--pairs 7] [--servers 1] [--no-sockets]
                                        [--draws 0.0] [--json FILE]

Beside it, in alternating runs, the least that any client must do: queue a graph, ask for its history until it is there,
fetch the picture, one after the other, keeping nothing. The server is a program of its own; pictures have the size of
real ones. With `--draws` the server takes so many seconds for a picture; what is left above them is what it waits for.
No picture is scored: that is benchmarks/score_throughput.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from support import ROOT, Ratio, arguments, machine, package, write_json

package("likeness")

from likeness.remote import QueueClient, generate  # noqa: E402
from likeness.remote.progress import Listener  # noqa: E402
from likeness.scenes.scene import Scene  # noqa: E402

TARGET = 50.0  # ms for each picture


def pretended() -> Any:
    """The pretended server of the tests."""
    path = ROOT / "tests" / "unit" / "remote" / "pretended_comfy.py"
    spec = importlib.util.spec_from_file_location("pretended_comfy", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(kilobytes: int, draws: float) -> None:
    """Draws until its standard input is closed."""
    module = pretended()
    plain, filling = module.png, os.urandom(kilobytes << 10)
    end = plain("")[-12:]
    module.png = lambda text: (
        plain(text)[:-12] + module.struct.pack(">I", len(filling)) + b"fiLL" + filling + b"0" * 4 + end
    )
    server = module.PretendedComfy(seconds=draws).start()
    print(server.url, flush=True)
    sys.stdin.read()
    server.stop()


@contextlib.contextmanager
def servers(count: int, kilobytes: int, draws: float) -> Iterator[list[str]]:
    command = [sys.executable, __file__, "--serve", str(kilobytes), "--draws", str(draws)]
    made = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        yield [process.stdout.readline().strip() for process in made if process.stdout]
    finally:
        for process in made:
            process.communicate()


def scenes(count: int, run: int) -> list[Scene]:
    return [Scene(name=f"scene{i}", seed=1000 * run + i, prompt=f"scene {i}") for i in range(count)]


def ours(urls: Sequence[str], wanted: Sequence[Scene], graph: Any) -> float:
    with tempfile.TemporaryDirectory() as out:
        begun = time.perf_counter()
        made = generate("ada", wanted, urls, Path(out), graph_of=lambda s: graph(s.seed, s.name))
        taken = time.perf_counter() - begun
    assert made.complete and len(made.pictures) == len(wanted)
    return taken


def least(url: str, wanted: Sequence[Scene], graph: Any) -> float:
    client, begun = QueueClient(url), time.perf_counter()
    for scene in wanted:
        prompt_id = client.queue(graph(scene.seed, scene.name), str(pretended_id(scene)))
        while (outcome := client.outcome(prompt_id)) is None:
            time.sleep(0.0005)
        client.fetch(outcome.saved()[0])  # type: ignore[union-attr]
    return time.perf_counter() - begun


def pretended_id(scene: Scene) -> str:
    return f"{scene.seed:032x}"


def main() -> None:
    parser = arguments(__doc__ or "", checkout=False)
    parser.add_argument("--serve", type=int, help="be the server; KB of a picture")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--kilobytes", type=int, default=1500)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument(
        "--draws", type=float, default=0.0, metavar="S", help="seconds that a server takes for a picture"
    )
    parser.add_argument("--no-sockets", action="store_true", help="ask instead of hearing")
    options = parser.parse_args()
    if options.serve is not None:
        return serve(options.serve, options.draws)
    if options.no_sockets:
        Listener.start = lambda self: None  # type: ignore[method-assign]
    graph, taken = pretended().graph, {"ours": list[float](), "least": list[float]()}
    with servers(options.servers, options.kilobytes, options.draws) as urls:
        for pair in range(options.pairs + 1):
            fresh = scenes(options.pictures, 2 * pair), scenes(options.pictures, 2 * pair + 1)
            numbers = {"ours": ours(urls, fresh[0], graph), "least": least(urls[0], fresh[1], graph)}
            for name, seconds in numbers.items() if pair else ():  # the first pair warms up
                taken[name].append(1000 * seconds / options.pictures)
    middle = {name: statistics.median(values) for name, values in taken.items()}
    ratio = Ratio.of(taken["ours"], taken["least"])
    added = statistics.median(a - b for a, b in zip(taken["ours"], taken["least"], strict=True))
    above = middle["ours"] - 1000 * options.draws / options.servers
    print(f"likeness generate: {above:.1f} ms for each picture beside drawing it (target {TARGET:.0f} ms)")
    print(f"least that a client must do: {middle['least']:.1f} ms; ours / that {ratio}, {ratio.pairs} pairs")
    print(f"added for journal, files on the disk, manifest and scheduling: {added:.1f} ms for each picture")
    write_json(options.json, {**machine(), "ms": taken, "added_ms": added, "ratio": vars(ratio)})


if __name__ == "__main__":
    main()
