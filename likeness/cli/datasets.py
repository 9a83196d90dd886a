"""`likeness dataset plan|build|lint|replace|check`: training sets."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..dataset.balance import Target, balance_of, balance_text, framing_target
from ..dataset.build import build, set_folder
from ..dataset.caption_edit import count_tags, replace_captions, tag_table
from ..dataset.captioner import CAPTION_FROM, captioner_for, style_for
from ..dataset.configs import config_files
from ..dataset.lint import LintRules, lint_files, lint_plan, lint_text, rules_for
from ..dataset.moved import place_finding, put_right
from ..dataset.plan import MAX_BYTES, Choice, Rules, SetPlan, emit_plan, parse_plan
from ..dataset.planning import About, Planned, plan_set, regular_captioner
from ..dataset.presets import advice
from ..dataset.preview import sheet, shown_in, thumbs_of
from ..dataset.set_folder import caption_files, captions_by_hand, check_set, read_set
from ..dataset.sources import SET_FILE, folder_sources
from ..dataset.survey import Survey, survey
from ..dataset.tagger import Tagger, find_tagger
from ..dataset.words import captions_text, parse_choices, summary
from ..errors import LikenessError
from ..files import atomic_write, read_limited
from ..images import encode_jpeg
from ..profile import FAMILIES
from ..style import OnnxImageEmbedder
from .dataset_options import about_asked, check_sheet, kept_text, plan_there, rules_asked, shape_asked, wish_asked
from .output import say, slug_named
from .places import Places
from .scoring import judge_of
from .spreading import add_ray_options, go_ahead

_SOON, _LINE = 0.1, 10.0  # seconds between two looks on a terminal, and between two lines elsewhere

Options = Callable[[argparse.ArgumentParser], None]


def add_dataset(commands: Any, shared: argparse.ArgumentParser, judge_options: Options) -> None:
    """The five commands. `commands`: the subparsers of `likeness`; `shared`: what every command takes."""
    parser = commands.add_parser("dataset", help="make, build and check a training set")
    inner = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, help_text: str) -> argparse.ArgumentParser:
        sub = inner.add_parser(name, parents=[shared], help=help_text, description=help_text)
        sub.set_defaults(command=function)
        return sub  # type: ignore[no-any-return]

    planning = command("plan", plan_folder, "say which pictures of a folder are trained, and how; writes nothing else")
    _plan_options(planning)
    judge_options(planning)
    building = command("build", build_plan, "write a planned set")
    building.add_argument("plan", type=Path, help="plan.json of `dataset plan`")
    building.add_argument("--out", type=Path, metavar="DIR", help="the set's folder; default: below ComfyUI's output")
    building.add_argument("--reg", type=Path, metavar="PLAN", help="plan of regularisation pictures")
    building.add_argument("--overwrite", action="store_true", help="also where captions were changed by hand")
    linting = command("lint", lint_set, "say what is wrong with the captions of a plan or a set")
    linting.add_argument("plan", type=Path, help="plan.json, or a set's folder")
    linting.add_argument("--tags", action="store_true", help="also how often each tag stands in the captions")
    replacing = command("replace", replace_in_plan, "find and replace in the captions of a plan, as choices")
    replacing.add_argument("plan", type=Path)
    replacing.add_argument("find", help="a whole tag, or several in a row")
    replacing.add_argument("put", help="what comes there; '' removes it")
    replacing.add_argument("--text", action="store_true", help="find any text, not only whole tags")
    replacing.add_argument("--dry-run", action="store_true", help="only show what would change")
    checking = command("check", check_folder, "say what differs from a set as it was built; exit code 1 if anything")
    checking.add_argument("set", type=Path, help="a set's folder")
    checking.add_argument(
        "--fix", action="store_true", help="of a set that was moved: name its new folder in its configs"
    )


def _plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="folder of pictures, with its subfolders")
    parser.add_argument("--character", required=True, metavar="NAME", help="whose set it is")
    parser.add_argument("--name", help="of the set; default: set")
    parser.add_argument("--out", type=Path, default=Path("plan.json"), metavar="FILE", help="default: plan.json")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="also a JPEG of crops, sizes and verdicts")
    parser.add_argument("--family", choices=FAMILIES, help="base model; default: sd15")
    parser.add_argument("--side", type=int, metavar="PX", help="default: the family's, 768 for sd15")
    parser.add_argument("--steps", type=int, help="training steps in total; default: the family's, 3000 for sd15")
    parser.add_argument("--batch", type=int, help="pictures in a step; default: 1")
    parser.add_argument("--rank", type=int, help="of the LoRA; default: the family's")
    parser.add_argument("--repeats", type=int, help="of each picture in an epoch; default: about ten epochs")
    parser.add_argument("--trigger", default="", metavar="WORD", help="default: the character's")
    parser.add_argument("--class-word", metavar="WORD", help="default: the character's; none with --no-faces")
    parser.add_argument("--captions", choices=CAPTION_FROM, default=CAPTION_FROM[0], help="where they come from")
    parser.add_argument("--no-faces", action="store_true", help="a set of backgrounds, poses or things")
    parser.add_argument("--regular", action="store_true", help="regularisation pictures: the class, not the person")
    parser.add_argument("--rule", action="append", default=[], metavar="NAME=VALUE", help="a threshold, see the plan")
    parser.add_argument("--choices", type=Path, metavar="FILE", help="choices in JSON or lines, or an earlier plan")
    parser.add_argument(
        "--from-set", type=Path, metavar="DIR", help="keep captions, choices and settings of a built set"
    )
    parser.add_argument("--target", metavar="U/P/F", help="percentages of upper body, portrait, full body: 70/20/10")
    parser.add_argument("--tagger", type=Path, metavar="DIR", help="folder of a WD tagger v3: words for captions")
    parser.add_argument("--style-model", type=Path, metavar="FILE", help="image encoder (ONNX) that names backgrounds")
    add_ray_options(parser)


def plan_folder(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when no picture is left."""
    old = read_set(arguments.from_set).plan if arguments.from_set else None
    before = plan_there(arguments.out)
    check_sheet(arguments.sheet, arguments.folder)
    rules = rules_asked(arguments, old)
    who = about_asked(arguments, places.library().get(slug_named(arguments.character)), old)
    choices = _choices(arguments, old, before)
    sources = folder_sources(arguments.folder)
    looked = _looked(arguments, places, sources, rules)
    planned = _planned(arguments, looked, who, rules, choices, old)
    atomic_write(arguments.out, emit_plan(planned.plan))
    written = [*kept_text(planned.plan, old), f"Wrote {arguments.out}."]
    if before is not None and before.choices and not arguments.choices and old is None:
        written.insert(0, f"The {len(before.choices)} choices of the plan that was there are kept.")
    if getattr(arguments, "verbose", False):
        written.insert(0, captions_text(planned.plan))
    if arguments.sheet:
        thumbs = thumbs_of(sources, [c.source for c in shown_in(planned.plan)])
        atomic_write(arguments.sheet, encode_jpeg(sheet(planned.plan, thumbs), 4096))
        written.append(f"Wrote {arguments.sheet}.")
    values = {
        "plan": str(arguments.out), "taken": len(planned.plan.items), "rejected": planned.plan.counts,
        "would_reject": dict(planned.selection.would_reject),
    }  # fmt: skip
    say(
        arguments,
        "\n".join([summary(planned), *_remedies(planned.plan), *_hints(planned.plan, arguments, places), *written]),
        values,
    )
    return int(not planned.plan.items)


_REMEDIES = {
    "upscaled": "Left out as upscaled: --rule upscale=FACTOR, as named there, or a smaller --side takes it.",
    "several faces": "Left out for several faces: --rule several_faces=crop cuts the others off where it can.",
}


def _remedies(plan: SetPlan) -> list[str]:
    return [text for code, text in _REMEDIES.items() if code in plan.counts]


def _hints(plan: SetPlan, arguments: argparse.Namespace, places: Places) -> list[str]:
    target = Target(framing=framing_target(arguments.target)) if arguments.target else None
    if not plan.items or arguments.regular:
        return []
    if not plan.rules.need_face and target is None:  # what a set of people lacks says nothing of things
        return [*advice(plan), lint_text(lint_plan(plan, _rules_of(plan, places)), len(plan.items))]
    return [
        *advice(plan),
        lint_text(lint_plan(plan, _rules_of(plan, places)), len(plan.items)),
        balance_text(balance_of(plan, target)),
    ]


def _rules_of(plan: SetPlan, places: Places) -> LintRules:
    return rules_for(plan, [entry.profile for entry in places.library().list() if entry.profile])


def _looked(arguments: argparse.Namespace, places: Places, sources: Any, rules: Rules) -> Survey:
    embedder = OnnxImageEmbedder(arguments.style_model, arguments.provider) if arguments.style_model else None
    engine = judge = None
    if rules.identity != "off" and rules.need_face:
        engine, judge = judge_of(arguments, places, arguments.character)
    elif rules.need_face:
        profile = places.library().get(slug_named(arguments.character))
        engine = places.analyser(arguments.face_model or profile.face_model, arguments.provider, arguments.backend)
    shows = Shows("pictures looked at")
    try:
        files = [source.path for source in sources.pictures if source.path is not None]
        go_ahead(arguments, places, (engine, judge.second if judge else None), files, shows, layers=True)
        return survey(sources, engine, judge, embedder, _tagger(arguments), progress=shows)
    finally:
        shows.finish()


def _tagger(arguments: argparse.Namespace) -> Tagger | None:
    if arguments.tagger is None:
        return None
    found = find_tagger([arguments.tagger])
    if found is None:
        raise LikenessError(f"There is no WD tagger in {arguments.tagger}: put model.onnx and selected_tags.csv there.")
    return Tagger(found, provider=arguments.provider)


def _planned(
    arguments: argparse.Namespace,
    looked: Survey,
    who: About,
    rules: Rules,
    choices: tuple[Choice, ...],
    old: SetPlan | None,
) -> Planned:
    problems: list[str] = []
    wish, shape = wish_asked(arguments, old), shape_asked(arguments, old)
    name = arguments.name or (old.name if old else "set")
    usual = captioner_for(who, arguments.captions, problems, style_for(wish.family))
    caption = regular_captioner(who) if arguments.regular else usual
    planned = plan_set(
        looked, who, caption, name=name, shape=shape, rules=rules, wish=wish, choices=choices,
        repeats=arguments.repeats, regular=arguments.regular,
    )  # fmt: skip
    for problem in problems:
        print(f"likeness: {problem}", file=sys.stderr)
    return planned


def _choices(arguments: argparse.Namespace, old: SetPlan | None, before: SetPlan | None) -> tuple[Choice, ...]:
    """Of the file that is named, on top of the set's; where neither is, those of the plan that is written over."""
    found: dict[str, Choice] = {}
    if old is None and not arguments.choices and before is not None:
        return before.choices
    if old is not None:
        found |= {c.source: c for c in old.choices}
        for source, caption in captions_by_hand(arguments.from_set).items():
            found[source] = found.get(source, Choice(source=source)).model_copy(update={"caption": caption})
    if arguments.choices:
        text = read_limited(arguments.choices, MAX_BYTES).decode("utf-8-sig", "replace")
        found |= {c.source: c for c in parse_choices(text, str(arguments.choices))}
    return tuple(found.values())


def build_plan(arguments: argparse.Namespace, places: Places) -> None:
    plan, sources = _read(arguments.plan)
    regular = _read(arguments.reg) if arguments.reg else None
    folder = arguments.out or set_folder((places.comfy or Path.cwd()) / "output", plan)
    shows = Shows("pictures written")
    try:
        made = build(
            plan,
            sources,
            folder.absolute(),
            config_files,
            regular=regular,
            overwrite=arguments.overwrite,
            progress=shows,
        )
    finally:
        shows.finish()
    done = "Wrote" if made.changed else "Nothing has changed in"
    text = f"{done} {made.folder}: {len(plan.items)} pictures, {plan.samples} with repeats."
    told = advice(plan, regular[0]) if regular else ()  # planning alone knew nothing of them
    say(
        arguments,
        "\n".join([text, *told]),
        {"folder": str(made.folder), "pictures": len(plan.items), "changed": made.changed},
    )


def _read(path: Path) -> tuple[SetPlan, Any]:
    plan = parse_plan(read_limited(path, MAX_BYTES), path)
    if not plan.root:
        raise LikenessError(f"{path}: its pictures came from a graph, so only the graph can build it.")
    return plan, folder_sources(Path(plan.root))


def lint_set(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when something was found."""
    path = arguments.plan
    if path.is_dir():
        plan, captions = read_set(path).plan, caption_files(path)
        found = lint_files(captions, plan, _rules_of(plan, places))
        texts = [data.decode("utf-8", "replace").strip() for data in captions.values()]
    else:
        plan = parse_plan(read_limited(path, MAX_BYTES), path)
        found, texts = lint_plan(plan, _rules_of(plan, places)), [i.caption for i in plan.items]
    text = lint_text(found, len(texts)) + (f"\n{tag_table(texts)}" if arguments.tags else "")
    say(arguments, text, {"findings": [vars(f) for f in found], "tags": [vars(t) for t in count_tags(texts)]})
    return int(any(f.severity != "note" for f in found))


def replace_in_plan(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when nothing was found."""
    if arguments.plan.is_dir():
        raise LikenessError(
            f"{arguments.plan} is a folder: give the plan's file. A built set is changed by planning again with "
            f"--from-set {arguments.plan}."
        )
    plan = parse_plan(read_limited(arguments.plan, MAX_BYTES), arguments.plan)
    made = replace_captions(plan, arguments.find, arguments.put, "text" if arguments.text else "tags")
    captions = {c.source: c.after for c in made.changes}
    items = tuple(i.model_copy(update={"caption": captions.get(i.source, i.caption)}) for i in plan.items)
    if captions and not arguments.dry_run:
        atomic_write(arguments.plan, emit_plan(plan.model_copy(update={"items": items, "choices": made.choices})))
    lines = [f"{c.source}: {c.before} -> {c.after}" for c in made.changes]
    say(arguments, "\n".join(lines) or _not_held(plan, arguments), [vars(c) for c in made.changes])
    return int(not captions)


def _not_held(plan: SetPlan, arguments: argparse.Namespace) -> str:
    within = sum(arguments.find.casefold() in i.caption.casefold() for i in plan.items)
    if within and not arguments.text:
        return f"No caption holds it as a whole tag; {within} hold it within one: --text finds it there."
    return "No caption holds it."


def check_folder(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when something differs."""
    folder = arguments.set.parent if arguments.set.name == SET_FILE else arguments.set
    written = put_right(folder) if arguments.fix else ()
    found = [*filter(None, [place_finding(folder)]), *check_set(folder)]
    lines = [*(f"Wrote {name} anew." for name in written), *(found or ["The set is as it was built."])]
    say(arguments, "\n".join(lines), found)
    return int(bool(found))


class Shows:
    """How far it is: on a terminal one line that is written over, elsewhere a line now and then."""

    def __init__(self, what: str) -> None:
        self._what, self._shown, self._line = what, time.monotonic(), False

    def __call__(self, done: int, of: int) -> None:
        terminal = sys.stderr.isatty()
        if time.monotonic() - self._shown < (_SOON if terminal else _LINE):
            return
        self._shown = time.monotonic()
        text = f"  {done:,} of {of:,} {self._what}"
        print(f"\r\033[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
        self._line = terminal

    def finish(self) -> None:
        """Leave the line free."""
        if self._line:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self._line = False
