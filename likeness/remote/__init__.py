"""Work on other machines: ComfyUI servers and Ray. Not part of the published pack.

from likeness.remote import Scorer, generate
manifest = generate("ada", scenes, ["http://127.0.0.1:8188"], Path("out"), graph_of=graph_of)
for picture in manifest.chosen: print(picture.scene.name, picture.file, picture.score)

client.py     one server: queue a graph, ask how it went, fetch files
progress.py   what servers tell over their web sockets
inputs.py, checks.py          a graph against what a server tells of its nodes, before it is queued
board.py, lane.py, pool.py    several servers: which job is where, one thread for each server, all together
sent.py       a graph as it is sent: names of its own, and nodes that show what it was drawn with
media.py, folder.py, manifest.py    files that came back, the journal of a folder, what was drawn
generating.py scenes -> pictures, scored and written down
again.py      a picture made again
entries.py, faces.py, spread.py, on_ray.py    faces and other work on other machines by Ray
far.py        servers that are asked, and pictures that are looked at, by other machines
"""

from .client import BadAnswerError, NotThereError, QueueClient, RefusedError, Result
from .generating import Found, Scorer, Tick, UnfitError, generate
from .manifest import Manifest, Missing, Picture
from .pool import Aside, Back, Drawn, LaneStatus, Missed, Timing

__all__ = [
    "Aside",
    "Back",
    "BadAnswerError",
    "Drawn",
    "Found",
    "LaneStatus",
    "Manifest",
    "Missed",
    "Missing",
    "NotThereError",
    "Picture",
    "QueueClient",
    "RefusedError",
    "Result",
    "Scorer",
    "Tick",
    "Timing",
    "UnfitError",
    "generate",
]
