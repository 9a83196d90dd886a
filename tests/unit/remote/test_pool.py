"""Several servers, some of which misbehave: every job is done once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest
from aiohttp import web

from likeness.remote.board import Board, Job
from likeness.remote.lane import Aside, Back, Drawn, Event, Missed, Timing
from likeness.remote.media import Media
from likeness.remote.pool import Pool

from .conftest import QUICK, Make
from .pretended_comfy import Graph, PretendedComfy, graph


class Desk:
    """Counts what was kept."""

    def __init__(self) -> None:
        self.kept: Counter[str] = Counter()
        self.by: dict[str, str] = {}
        self.ids: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def sent(self, job: Job, server: str, prompt_id: str) -> None:
        with self._lock:
            self.ids.setdefault(job.label, []).append(prompt_id)

    def keep(self, job: Job, server: str, prompt_id: str, made: tuple[Media, ...], shown: Mapping[str, str]) -> None:
        assert made[0].data.startswith(b"\x89PNG")
        with self._lock:
            self.kept[job.label] += 1
            self.by[job.label] = server


def jobs(count: int) -> list[Job]:
    return [Job(f"key{i}", f"job{i}", graph(i, f"job{i}")) for i in range(count)]


def run(
    servers: Sequence[PretendedComfy],
    wanted: Sequence[Job],
    timing: Timing = QUICK,
    then: Callable[[Event], None] = lambda event: None,
) -> tuple[Desk, list[Event]]:
    desk, events = Desk(), list[Event]()
    with Pool([s.url for s in servers], desk, timing) as pool:
        for job in wanted:
            pool.add(job)
        for event in pool.events():
            if event is not None:
                events.append(event)
                then(event)
    return desk, events


def names(count: int) -> Counter[str]:
    return Counter({f"job{i}": 1 for i in range(count)})


def of(kind: type, events: Sequence[Event]) -> list[Event]:
    return [e for e in events if isinstance(e, kind)]


@pytest.mark.parametrize("sockets", [True, False])
def test_every_job_is_done_once(pretend: Make, sockets: bool) -> None:
    servers = [pretend(seconds=0.01, sockets=sockets) for _ in range(3)]
    desk, events = run(servers, jobs(30))
    assert desk.kept == names(30) and len(of(Drawn, events)) == 30
    assert sum((s.drawn for s in servers), Counter()) == names(30)
    assert all(s.drawn for s in servers)


def test_a_server_holds_two_prompts_of_ours_at_most(pretend: Make) -> None:
    server, most = pretend(seconds=0.02), 0
    end = threading.Event()

    def look() -> None:
        nonlocal most
        while not end.wait(0.001):
            most = max(most, len(server.pending) + (server.running is not None))

    watcher = threading.Thread(target=look)
    watcher.start()
    run([server], jobs(8))
    end.set()
    watcher.join()
    assert most == 2


def test_an_idle_server_takes_what_waits_at_a_slow_one(pretend: Make) -> None:
    slow, quick = pretend(seconds=2.0), pretend(seconds=0.02)
    begun = time.monotonic()
    desk, _ = run([slow, quick], jobs(6))
    assert desk.kept == names(6)
    assert sum(slow.drawn.values()) == 1 and len(slow.cancelled) == 1
    assert time.monotonic() - begun < 3.5


def test_a_prompt_behind_somebody_elses_is_taken_too(pretend: Make) -> None:
    blocked, quick = pretend(), pretend(seconds=0.02)
    blocked.hold = True
    blocked.pending.append((0, "theirs", graph(99, "theirs"), {}, ""))
    desk, _ = run([blocked, quick], jobs(6))
    assert desk.kept == names(6) and sum(quick.drawn.values()) == 6
    assert [row[1] for row in blocked.pending] == ["theirs"]


def test_a_server_that_dies_loses_nothing(pretend: Make) -> None:
    dying, other = pretend(seconds=0.05), pretend(seconds=0.05)

    def die(event: Event) -> None:
        if isinstance(event, Drawn) and sum(dying.drawn.values()) >= 2 and dying._thread.is_alive():
            dying.stop()

    desk, events = run([dying, other], jobs(12), then=die)
    assert desk.kept == names(12)
    assert [e.server for e in of(Aside, events)] == [dying.url]


def test_a_server_that_is_started_again_goes_on(pretend: Make) -> None:
    server = pretend(seconds=0.03)
    deaths = 0

    def restart(event: Event) -> None:
        nonlocal deaths
        if isinstance(event, Drawn) and deaths < 3:
            deaths += 1
            server.stop()
            time.sleep(0.1)
            server.start()

    desk, events = run([server], jobs(10), then=restart)
    assert desk.kept == names(10) and not of(Missed, events)
    assert len(of(Aside, events)) == len(of(Back, events)) >= 1


def test_a_server_whose_queue_was_emptied_gets_its_jobs_again(pretend: Make) -> None:
    server = pretend(seconds=0.02)
    emptied = 0

    def empty(event: Event) -> None:
        nonlocal emptied
        if emptied < 3 and server.pending:
            emptied += 1
            server.pending.clear()

    desk, events = run([server], jobs(8), then=empty)
    assert desk.kept == names(8) and not of(Missed, events)


def test_a_server_that_does_not_answer_is_put_aside(pretend: Make) -> None:
    mute, other = pretend(), pretend(seconds=0.02)
    mute.lag = 60.0
    timing = Timing(**{**vars(QUICK), "answer": 0.3})
    desk, events = run([mute, other], jobs(6), timing)
    assert desk.kept == names(6)
    assert [e.server for e in of(Aside, events)] == [mute.url] and "No ComfyUI answers" in of(Aside, events)[0].reason


BAD: dict[str, Callable[[], web.Response]] = {
    "500": lambda: web.Response(status=500, text="500 Internal Server Error"),
    "HTML": lambda: web.Response(text="<html><body>Welcome</body></html>", content_type="text/html"),
    "garbage": lambda: web.Response(body=b"\xff\x00{"),
    "a list": lambda: web.json_response([1, 2]),
    "a gateway": lambda: web.Response(status=502, text="<h1>502 Bad Gateway</h1>", content_type="text/html"),
}


@pytest.mark.parametrize("path", ["/prompt", "/history", "/queue", "/view", "/"])
@pytest.mark.parametrize("answer", list(BAD))
def test_a_server_that_answers_nonsense_is_put_aside(pretend: Make, path: str, answer: str) -> None:
    bad, good = pretend(), pretend(seconds=0.05)
    bad.reply = lambda request: BAD[answer]() if request.path.startswith(path) else None
    desk, events = run([bad, good], jobs(6))
    assert desk.kept == names(6) and not of(Missed, events)
    assert path == "/queue" or set(desk.by.values()) == {good.url}


def test_a_server_that_answers_500_for_a_while_is_used_again(pretend: Make) -> None:
    server = pretend(seconds=0.01)
    end = time.monotonic() + 0.5
    server.reply = lambda request: web.Response(status=502) if time.monotonic() < end else None
    desk, events = run([server], jobs(4))
    assert desk.kept == names(4) and of(Back, events)


def test_a_job_that_every_server_answers_with_500_ends_and_the_others_go_on(pretend: Make) -> None:
    def cannot(server: PretendedComfy) -> None:
        old = server._prompt

        async def prompt(request: web.Request) -> web.Response:
            body = await request.json()
            return web.Response(status=500) if "job2" in str(body["prompt"]) else await old(request)

        server._prompt = prompt  # type: ignore[method-assign]

    servers = [PretendedComfy(seconds=0.02), PretendedComfy(seconds=0.02)]
    for server in servers:
        cannot(server)
        server.start()
    desk, events = run(servers, jobs(5))
    for server in servers:
        server.stop()
    assert desk.kept == names(5) - Counter({"job2": 1})
    assert [(e.job.label, "answered 500" in e.reason) for e in of(Missed, events)] == [("job2", True)]


@pytest.mark.parametrize("how", ["refuses", "fails"])
def test_a_job_that_two_servers_cannot_do_ends_with_one_sentence(pretend: Make, how: str) -> None:
    servers = [pretend(seconds=0.01), pretend(seconds=0.01)]
    for server in servers:
        setattr(server, how, lambda nodes: "mat1 and mat2 shapes" if nodes["2"]["inputs"]["text"] == "job3" else "")
    desk, events = run(servers, jobs(6))
    assert desk.kept == names(6) - Counter({"job3": 1})
    (missed,) = of(Missed, events)
    assert missed.job.label == "job3" and "mat1 and mat2 shapes" in missed.reason and "\n" not in missed.reason
    assert not of(Aside, events)


@pytest.mark.parametrize("how", ["refuses", "fails"])
def test_what_one_server_cannot_do_another_does(pretend: Make, how: str) -> None:
    without, good = pretend(), pretend(seconds=0.05)
    setattr(without, how, lambda nodes: "b.safetensors not in list")
    desk, events = run([without, good], jobs(6))
    assert desk.kept == names(6) and not of(Missed, events)


def test_a_job_that_runs_out_of_memory_is_tried_elsewhere_once(pretend: Make) -> None:
    small, large = pretend(), pretend(seconds=0.02)
    small.fails, small.error_type = lambda nodes: "Allocation on device", "torch.OutOfMemoryError"
    desk, _ = run([small, large], jobs(4))
    assert desk.kept == names(4) and sum(large.drawn.values()) == 4


def test_a_job_that_runs_out_of_memory_twice_ends(pretend: Make) -> None:
    server = pretend()
    tries = Counter[str]()
    too_much = {"job0": 99, "job1": 1}  # times

    def fails(nodes: Graph) -> str:
        text = nodes["2"]["inputs"]["text"]
        tries[text] += 1
        return "CUDA out of memory" if tries[text] <= too_much.get(text, 0) else ""

    server.fails = fails
    desk, events = run([server], jobs(3))
    assert desk.kept == Counter(job1=1, job2=1) and tries["job0"] == 2 and tries["job1"] == 2
    assert "out of memory" in of(Missed, events)[0].reason and server.freed == 2


def test_a_graph_that_kills_its_server_is_given_up(pretend: Make) -> None:
    server = pretend(seconds=0.01)
    killed = 0

    def dies(nodes: Graph) -> str:
        nonlocal killed
        if nodes["2"]["inputs"]["text"] == "job1":
            killed += 1
            server.pending.clear()  # as a restart would
            server.history.clear()
            threading.Timer(0, server.history.clear).start()
            return "gone"
        return ""

    server.fails = dies
    old = server._entry
    server._entry = lambda n, e, f: {} if f else old(n, e, f)  # type: ignore[method-assign]
    desk, events = run([server], jobs(3))
    assert desk.kept == Counter(job0=1, job2=1) and killed == 5
    assert "forgot it (5 times)" in of(Missed, events)[0].reason


def test_pictures_that_are_gone_are_drawn_again(pretend: Make) -> None:
    server = pretend()
    lost = 0

    def lose(request: web.Request) -> web.Response | None:
        nonlocal lost
        if request.path == "/view" and lost < 3:
            lost += 1
            return web.Response(status=404)
        return None

    server.reply = lose
    desk, events = run([server], jobs(4))
    assert desk.kept == names(4) and not of(Missed, events)


def test_a_picture_that_was_cut_short_is_not_kept(pretend: Make) -> None:
    server = pretend()
    short = 0

    def cut(request: web.Request) -> web.Response | None:
        nonlocal short
        if request.path == "/view" and short < 2:
            short += 1
            return web.Response(body=server.files[request.query["filename"]][:40])
        return None

    server.reply = cut
    desk, _ = run([server], jobs(2))
    assert desk.kept == names(2) and short == 2


def test_a_graph_that_somebody_else_interrupts_is_drawn_again_once(pretend: Make) -> None:
    server = pretend(seconds=0.05)
    stopped = list[str]()

    def interrupt(event: Event) -> None:
        if server.running and not stopped:
            stopped.append(server.running[1])
            server._stop_it = True

    desk, events = run([server], jobs(4), then=interrupt)
    assert desk.kept == names(4) and not of(Missed, events)
    tries = [i for ids in desk.ids.values() for i in ids]
    assert stopped[0] in tries and len(tries) == 5


def test_where_no_server_answers_the_jobs_that_are_left_end(pretend: Make) -> None:
    server = pretend()
    timing = Timing(**{**vars(QUICK), "patience": 0.4})

    def die(event: Event) -> None:
        if isinstance(event, Drawn) and server._thread.is_alive():
            server.stop()

    desk, events = run([server], jobs(8), timing, then=die)
    missed = of(Missed, events)
    assert len(missed) + sum(desk.kept.values()) == 8 and missed
    assert all("no server that could draw it answered for" in e.reason for e in missed)
    assert {e.job.label for e in missed}.isdisjoint(desk.kept)


def test_stopping_takes_back_our_own_prompts_alone(pretend: Make) -> None:
    server = pretend(seconds=30.0)
    server.pending.append((0, "theirs", graph(99, "theirs"), {}, ""))
    while server.running is None:
        time.sleep(0.01)
    desk = Desk()
    with pytest.raises(KeyboardInterrupt), Pool([server.url], desk, QUICK) as pool:
        for job in jobs(4):
            pool.add(job)
        for _ in pool.events():
            if len(server.pending) == 2:
                raise KeyboardInterrupt
    assert server.pending == [] and len(server.cancelled) == 2
    assert server.running is not None and server.running[1] == "theirs" and server.interrupted == []


def test_stopping_interrupts_what_runs_of_ours(pretend: Make) -> None:
    server, desk = pretend(seconds=30.0), Desk()
    with pytest.raises(KeyboardInterrupt), Pool([server.url], desk, QUICK) as pool:
        for job in jobs(4):
            pool.add(job)
        for _ in pool.events():
            if server.running and server.pending:
                raise KeyboardInterrupt
    assert server.interrupted == desk.ids["job0"] and server.cancelled == desk.ids["job1"]


def test_what_an_earlier_run_sent_is_found_again(pretend: Make) -> None:
    server = pretend(seconds=0.2)
    first, second = jobs(2)
    earlier = Desk()
    pool = Pool([server.url], earlier, QUICK)
    pool._cancel = lambda: None  # type: ignore[method-assign]  # as if killed
    with pool:
        pool.add(first)
        pool.add(second)
        while not (server.running and server.pending):
            time.sleep(0.01)
    desk = Desk()
    with Pool([server.url], desk, QUICK) as pool:
        for job in (first, second):
            pool.add(job, {server.url: earlier.ids[job.label][0]})
        assert len([e for e in pool.events() if isinstance(e, Drawn)]) == 2
    assert server.drawn == names(2) and desk.kept == names(2) and desk.ids == {}


def test_a_full_disk_ends_the_run(pretend: Make) -> None:
    server = pretend()

    class Full(Desk):
        def keep(self, *_: object) -> None:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"), Pool([server.url], Full(), QUICK) as pool:
        pool.add(jobs(1)[0])
        list(pool.events())


def test_a_job_that_only_a_dead_server_could_do_is_given_up_in_the_end(pretend: Make) -> None:
    without, dead = pretend(seconds=0.02), pretend(seconds=0.02)
    without.refuses = lambda nodes: "no such checkpoint" if nodes["2"]["inputs"]["text"] == "job0" else ""
    dead.hold = True
    timing = Timing(**{**vars(QUICK), "patience": 0.5})

    def die(event: Event) -> None:
        if isinstance(event, Drawn) and dead._thread.is_alive():
            dead.stop()

    desk, events = run([without, dead], jobs(5), timing, then=die)
    assert desk.kept == names(5) - Counter(job0=1)
    assert [e.job.label for e in of(Missed, events)] == ["job0"]


def test_ten_thousand_jobs_cost_little_to_choose_from() -> None:
    board = Board(["a", "b"])
    for job in jobs(10_000):
        board.add(job)
    begun = time.perf_counter()
    for _ in range(5000):
        for server in ("a", "b"):
            ticket = board.take(server)
            assert ticket is not None
            board.finish(ticket.held)
            board.over(ticket.held.job)
    assert board.open == 0 and time.perf_counter() - begun < 5
