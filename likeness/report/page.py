"""A report as one HTML page that opens anywhere: no script, nothing loaded, every text escaped.

It stays small: plots show samples, and long lists end with a count. The JSON beside it has everything.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape

from .. import __version__
from ..scoring import SAME_PICTURE, VERDICTS
from ..style import STYLE_GOOD
from .document import About, GroupTable, Report
from .folder import shown
from .page_style import STYLE
from .plots import MAX_STRIPS, histogram_plot, similarity_axis, strip_plot, yaw_plot
from .rows import Row
from .statistics import Spread, Tally
from .words import RULE, headline, plus_minus

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
MAX_GROUPS, MAX_LEFT_OUT, MAX_ROWS = 40, 200, 300
_MAX_NAME = 90  # characters

Thumbnail = Callable[[Row], bytes | None]  # JPEG of a row's picture; None where it is gone


def to_html(report: Report, advice: Sequence[str], thumbnail: Thumbnail = lambda row: None) -> bytes:
    """UTF-8."""
    sections = [
        *_head(report),
        *_advice(advice),
        *_similarity(report),
        *(line for table in report.tables for line in _table(report, table)),
        *_poses(report),
        *_pictures("Least alike", report.worst, thumbnail),
        *_pictures("Most alike", report.best, thumbnail),
        *_reasons(report.tally),
        *_left_out(report),
        *_all_rows(report),
        *_method(report),
    ]
    title = escape(f"{report.about.title}: {report.about.character}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n" + "\n".join(sections) + "\n</main>"
        "\n</body>\n</html>\n"
    ).encode("utf-8", "backslashreplace")


def _head(report: Report) -> Iterator[str]:
    a, t = report.about, report.tally
    yield f"<header><h1>{escape(a.title)}</h1>"
    where = f"{a.character} in {a.source}, {t.pictures:,} pictures, {a.made[:10]}."
    yield f"<p>{escape(where)} {'' if t.measurable else escape(headline(report))}</p></header>"
    rate = "–" if t.rate is None else f"{t.rate:.2f}"
    between = "nothing measurable" if t.interval is None else f"{t.interval[0]:.2f} to {t.interval[1]:.2f} (95 %)"
    mean = "–" if t.similarity is None else f"{t.similarity.mean:.3f}"
    tiles = [
        ("first", rate, f"consistency rate, {between}"),
        ("", mean, f"mean similarity{_spread(t.similarity)}"),
        ("", f"{t.measurable:,}", f"measurable of {t.pictures:,} pictures"),
        ("", f"{len(report.left_out):,}", "not readable"),
    ]
    yield '<div class="tiles">'
    for kind, figure, text in tiles:
        yield f'<div class="tile {kind}"><b>{escape(figure)}</b><span>{escape(text)}</span></div>'
    yield "</div>"
    yield from _stack(t)


def _spread(s: Spread | None) -> str:
    return f", ±\u00a0{s.sd:.3f}" if s is not None and s.count > 1 else ""


def _stack(t: Tally) -> Iterator[str]:
    """The verdicts as one bar."""
    parts = [("good", "accepted", t.accepted), ("bad", "rejected", t.rejected), ("none", "not measurable",
             t.not_measurable)]  # fmt: skip
    grown = "".join(f'<i class="{kind}" style="flex-grow:{count}"></i>' for kind, _, count in parts if count)
    yield f'<div class="stack">{grown}</div>'
    key = "".join(f'<i class="{kind}"></i>{count:,} {name}' for kind, name, count in parts)
    more = [(t.copies, "copy of a reference?", "copies of a reference?"), (t.drawn, "drawn", "drawn"),
            (t.references, "reference itself, left out", "references themselves, left out")]  # fmt: skip
    told = "".join(f" · {count:,} {one if count == 1 else many}" for count, one, many in more if count)
    yield f'<div class="key">{key}{told}</div>'


def _advice(advice: Sequence[str]) -> Iterator[str]:
    if advice:
        yield "<h2>What it means</h2><ul>"
        yield from (f"<li>{escape(sentence)}</li>" for sentence in advice)
        yield "</ul>"


def _similarity(report: Report) -> Iterator[str]:
    t, a = report.tally, report.about
    if t.similarity is None:
        return
    yield "<h2>Similarity</h2>" + histogram_plot(report)
    rows = [("similarity", t.similarity, "")]
    if t.second is not None:
        rows.append(
            (f"second face model, {a.second}", t.second, f"{t.second_accepted:,} of {t.second.count:,} accepted")
        )
    if t.style is not None:
        kept = f"{t.style_kept:,} of {t.style.count:,} from {STYLE_GOOD} on"
        rows.append((f"style match with {a.style} ({a.style_encoder})", t.style, kept))
    yield '<div class="wide"><table><tr><th></th><th>pictures</th><th>mean</th><th>sd</th><th>lowest</th>'
    yield "<th>quartile</th><th>median</th><th>quartile</th><th>highest</th><th></th></tr>"
    for name, spread, told in rows:
        yield f"<tr><td>{escape(name)}</td>{_figures(spread)}<td>{escape(told)}</td></tr>"
    yield "</table></div>"


def _figures(s: Spread) -> str:
    sd = f"{s.sd:.3f}" if s.count > 1 else "–"
    values = (s.low, s.quartile1, s.median, s.quartile3, s.high)
    return f"<td>{s.count:,}</td><td>{s.mean:.3f}</td><td>{sd}</td>" + "".join(f"<td>{v:.3f}</td>" for v in values)


def _table(report: Report, table: GroupTable) -> Iterator[str]:
    yield f"<h2>By {escape(table.name)}</h2>"
    if any(g.similarities for g in table.groups):
        yield strip_plot(table.groups, similarity_axis(report), report.about.band)
        if len(table.groups) > MAX_STRIPS:
            yield f'<p class="note">The plot shows the best {MAX_STRIPS} of {len(table.groups):,} groups.</p>'
    if len(table.groups) > 1:
        yield f'<p class="note">{escape(RULE)}</p>'
    yield from _ranking(table)


def _ranking(table: GroupTable) -> Iterator[str]:
    second = any(g.tally.second for g in table.listed)
    style = any(g.tally.style for g in table.listed)
    heads = ["", "pictures", "measurable", "accepted", "rate", "95 %", "similarity"]
    heads += ["second"] * second + ["style"] * style + ["copies"]
    yield '<div class="wide"><table class="groups"><tr>' + "".join(f"<th>{h}</th>" for h in heads) + "</tr>"
    for group in (*table.groups[:MAX_GROUPS], *([] if table.unknown is None else [table.unknown])):
        t = group.tally
        cells = [f"{t.pictures:,}", f"{t.measurable:,}", f"{t.accepted:,}"]
        cells += ["–" if t.rate is None else f"{t.rate:.2f}"]
        cells += ["–" if t.interval is None else f"{t.interval[0]:.2f} to {t.interval[1]:.2f}", _mean(t.similarity)]
        cells += [_mean(t.second)] * second + [_mean(t.style)] * style + [f"{t.copies:,}"]
        yield f"<tr><td>{escape(group.value)}</td>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"
    yield "</table></div>"
    if len(table.groups) > MAX_GROUPS:
        yield f'<p class="note">and {len(table.groups) - MAX_GROUPS:,} more groups in the JSON file.</p>'


def _mean(spread: Spread | None) -> str:
    return "–" if spread is None else plus_minus(spread)


def _poses(report: Report) -> Iterator[str]:
    if not report.poses.groups:
        return
    yield "<h2>By pose</h2>"
    if report.tally.similarity is not None:
        yield yaw_plot(report)
    yield '<p class="note">Frontal below a yaw of 0.15, three-quarter below 0.45, profile from there on.</p>'
    yield from _ranking(report.poses)


def _pictures(title: str, rows: Sequence[Row], thumbnail: Thumbnail) -> Iterator[str]:
    if not rows:
        return
    verdicts = Counter(row.verdict for row in rows)
    told = ", ".join(f"{verdicts[v]:,} {v}" for v in VERDICTS if verdicts[v])
    yield f'<h2>{title}</h2><p class="note">By similarity alone, whatever the verdict: {told}.</p><div class="faces">'
    for row in rows:
        data = thumbnail(row)
        picture = '<div class="gone"></div>'
        if data is not None:
            picture = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        kind = "ok" if row.accepted else "low"
        extra = [f"second {row.second:.3f}"] if row.second is not None else []
        extra += [f"style {row.style:.2f}"] if row.style is not None else []
        extra += [f"a copy of {row.nearest}?"] if row.copy else []
        yield (
            f'<figure>{picture}<figcaption><b>{row.similarity or 0:.3f}</b> <span class="{kind}">'
            f"{escape(row.verdict)}</span><br>{escape(_named(row.name))}"
            f"{''.join(f'<br>{escape(text)}' for text in extra)}</figcaption></figure>"
        )
    yield "</div>"


def _named(name: str) -> str:
    text = shown(name)
    return text if len(text) <= _MAX_NAME else f"…{text[1 - _MAX_NAME :]}"


def _reasons(t: Tally) -> Iterator[str]:
    if t.reasons:
        yield "<h2>Why not accepted</h2>"
        yield "<table><tr><th>reason</th><th>pictures</th></tr>"
        yield from (f"<tr><td>{escape(shown(kind))}</td><td>{count:,}</td></tr>" for kind, count in t.reasons[:30])
        yield "</table>"


def _left_out(report: Report) -> Iterator[str]:
    if not report.left_out:
        return
    yield "<h2>Not readable</h2><table><tr><th>file or folder</th><th class=text>reason</th></tr>"
    for item in report.left_out[:MAX_LEFT_OUT]:
        yield f'<tr><td>{escape(_named(item.name))}</td><td class="text">{escape(item.reason)}</td></tr>'
    yield "</table>"
    if len(report.left_out) > MAX_LEFT_OUT:
        yield f'<p class="note">and {len(report.left_out) - MAX_LEFT_OUT:,} more in the JSON file.</p>'


def _all_rows(report: Report) -> Iterator[str]:
    if not report.rows:
        return
    yield "<h2>Pictures</h2><details><summary>"
    more = len(report.rows) > MAX_ROWS
    yield (
        f"The first {MAX_ROWS} of {len(report.rows):,}; the JSON file has all" if more else f"All {len(report.rows):,}"
    )
    yield '</summary><div class="wide"><table><tr><th>picture</th><th>similarity</th><th>yaw</th><th>width</th>'
    yield '<th class="text">verdict</th></tr>'
    for row in report.rows[:MAX_ROWS]:
        told = f"{row.verdict}{': ' if row.reason else ''}{row.reason}{_copy(row)}"
        cells = [_figure(row.similarity, 3), _figure(row.yaw, 2), _figure(row.width, 0)]
        yield f"<tr><td>{escape(_named(row.name))}</td>" + "".join(f"<td>{c}</td>" for c in cells)
        yield f'<td class="text">{escape(shown(told))}</td></tr>'
    yield "</table></div></details>"


def _copy(row: Row) -> str:
    if row.is_reference:
        return f", {row.nearest} itself: left out of the figures"
    return f", a copy of {row.nearest}?" if row.copy else ""


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _calibrated(a: About) -> str:
    known = None if a.hand_set is None else a.hand_set.calibrated
    return "" if known is None else f"; calibrated {known:.3f}"


def _method(report: Report) -> Iterator[str]:
    a = report.about
    facts = {
        "Character": f"{a.character} ({a.slug})",
        "Face model": a.face_model,
        "Accepted from": f"{a.band:.3f} ({a.band_source}{_calibrated(a)})",
    }
    if a.copy_limit is not None:
        facts = {**facts, "A copy?": f"similarity to one reference above {a.copy_limit:.3f}"}
        facts["A reference itself"] = f"that similarity is {SAME_PICTURE} or more; such pictures are left out"
    if a.second:
        facts = {**facts, "Second face model": a.second}
    if a.style:
        facts = {**facts, "Style": f"{a.style}, by {a.style_encoder}"}
    yield "<h2>How it was measured</h2><table>"
    yield from (f'<tr><td>{k}</td><td class="text">{escape(v)}</td></tr>' for k, v in facts.items())
    yield "</table><ul>" + "".join(f"<li>{escape(shown(note))}</li>" for note in a.notes) + "</ul>"
    yield (
        "<p class='note'>A similarity is the cosine of two face embeddings, -1 to 1; it is no percentage. A face that "
        "cannot be judged is not measurable, which is neither zero nor a rejection. The consistency rate is accepted / "
        "measurable, with its 95 % Wilson interval.</p>"
    )
    yield f"<footer>Likeness {__version__}, made {escape(a.made)}</footer>"
