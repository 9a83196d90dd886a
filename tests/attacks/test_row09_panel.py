"""The panel's scripts in Node, with a small page and a small ComfyUI in their place: a server that is down, answers
that are none of ours, tabs that close, clicks that come twice, texts that are markup."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ..conftest import ROOT

PAGE = Path(__file__).parent / "panel_page"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The folders as ComfyUI serves them."""
    shutil.copytree(ROOT / "js", tmp_path / "extensions" / "likeness")
    (tmp_path / "scripts").mkdir()
    for name in ("api.js", "app.js"):
        shutil.copy(PAGE / name, tmp_path / "scripts")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


def run(page: Path, script: str) -> None:
    """LF-ended modules; an assertion that fails, or a promise that nobody waits for, is exit code 1."""
    (page / "test.mjs").write_text((PAGE / "page.mjs").read_text(encoding="utf-8") + script, encoding="utf-8")
    done = subprocess.run([str(NODE), "test.mjs"], cwd=page, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_server_that_is_down_is_said_in_a_sentence(page: Path) -> None:
    run(
        page,
        """
        const { get, post, queue } = await import(`${LIB}/http.mjs`);
        api.answer = async () => { throw new TypeError('Failed to fetch') };
        for (const ask of [() => get('characters'), () => post('import'), () => queue({})])
          await assert.rejects(ask(), /ComfyUI does not answer/);
        """,
    )


def test_answers_that_are_none_of_ours_are_refusals_in_words(page: Path) -> None:
    run(
        page,
        """
        const { get, queue } = await import(`${LIB}/http.mjs`);
        api.answer = async () => new Response('<html>log in</html>');
        await assert.rejects(get('characters'), /The server answered 200/);
        const error = { type: 'x', message: 'Cannot execute', details: 'no adapter' };
        api.answer = async () => json({ error, node_errors: {} }, 400);
        await assert.rejects(queue({}), (error) => error.message === 'Cannot execute: no adapter');
        """,
    )


def test_a_graph_of_any_size_fits_into_a_question_to_the_doctor(page: Path) -> None:
    run(
        page,
        """
        const { filesOf } = await import(`${LIB}/panel-doctor.mjs`);
        const graph = {};
        for (let i = 0; i < 3000; i += 1) {
          const inputs = { lora_name: `名前${i}.safetensors`, text: 'x'.repeat(5000), model: ['1', 0], seed: i };
          graph[i] = { class_type: 'LoraLoader', inputs };
        }
        const sent = filesOf(graph);
        assert(Buffer.byteLength(JSON.stringify({ graph: sent, client_id: 'me' })) < 64 * 1024);
        assert.deepEqual(sent[0].inputs, { lora_name: '名前0.safetensors' });
        assert.deepEqual(filesOf(undefined), {});
        """,
    )


def test_a_tab_that_is_opened_fifty_times_leaves_nothing_behind(page: Path) -> None:
    run(
        page,
        """
        api.answer = async () => json({ total: 0, characters: [] });
        await opened();
        const usual = listeners.length;
        for (let i = 0; i < 50; i += 1) { tabs[0].destroy(); tabs[0].render(new Element('div')); }
        assert.equal(listeners.length, usual);
        tabs[0].destroy();
        assert.equal(listeners.length, 0);
        """,
    )


def test_what_ends_after_the_tab_was_closed_draws_nothing(page: Path) -> None:
    run(
        page,
        """
        api.answer = async () => json({ total: 0, characters: [] });
        await opened();
        const container = new Element('div');
        tabs[0].render(container);
        const main = container.children[0].children.flat().find((one) => one.attributes?.class === 'likeness-main');
        const doctor = find(container, 'doctor');
        tabs[0].destroy();
        const before = main.children[0];
        doctor.click();
        assert.equal(main.children[0], before);
        """,
    )


def test_the_list_comes_back_with_the_server(page: Path) -> None:
    run(
        page,
        """
        api.answer = async () => { throw new TypeError('Failed to fetch') };
        const container = await opened();
        assert.match(container.text, /ComfyUI does not answer/);
        api.answer = async () => json({ total: 7, characters: [] });
        tell('reconnected', null);
        await soon(500);
        assert.match(container.text, /7 characters/);
        """,
    )


def test_a_second_action_is_refused_in_words(page: Path) -> None:
    run(
        page,
        """
        let posts = 0;
        api.answer = async (path, options) => {
          if (options?.method !== 'POST') return library(path);
          posts += 1;
          await soon(100);
          return json({ slug: 'ada', report: 'done' });
        };
        const container = await opened();
        container.all().find((found) => found.attributes['data-slug'] === 'ada').click();
        await soon();
        find(container, 'calibrate').click();
        find(container, 'calibrate').click();
        assert.equal(posts, 1);
        assert.match(toasts.at(-1).detail, /still running/);
        await soon(200);
        """,
    )


def test_what_is_confirmed_is_what_is_asked_for(page: Path) -> None:
    run(
        page,
        """
        let settings = () => json({ delete_for_good: true });
        api.answer = async (path, options) => {
          if (options?.method === 'POST') return json({ slug: 'ada', report: 'done' });
          return path.endsWith('settings') ? settings() : library(path);
        };
        const container = await opened();
        container.all().find((found) => found.attributes['data-slug'] === 'ada').click();
        await soon();
        await find(container, 'remove').click();
        assert.match(questions.at(-1).message, /for good/);
        const sent = JSON.parse(asked.filter(([, options]) => options?.method === 'POST').at(-1)[1].body);
        assert.deepEqual([sent.file, sent.thumbnail, sent.for_good], ['references/001.png', 'tag', true]);
        settings = () => json({ error: 'no' }, 500);
        const before = questions.length;
        await find(container, 'trash').click();
        await soon();
        assert.equal(questions.length, before);
        """,
    )


def test_an_older_answer_never_replaces_a_newer_one(page: Path) -> None:
    run(
        page,
        """
        let name = 'Ada', wait = 0;
        api.answer = async (path) => {
          if (path.includes('?')) return json({ total: 1, characters: [CARD] });
          const mine = name; await soon(wait); return json({ ...PAGE_OF_ADA, name: mine });
        };
        const container = await opened();
        wait = 900; name = '<img src=x onerror=alert(1)> old';
        container.all().find((found) => found.attributes['data-slug'] === 'ada').click();
        wait = 0; name = '<img src=x onerror=alert(1)> new';
        tell('likeness.changed', {});
        await soon(1200);
        assert.equal(container.all().find((found) => found.tag === 'h2').textContent, name);
        """,
    )


def test_a_change_of_anybody_is_seen_and_many_in_a_row_are_looked_at_now_and_then(page: Path) -> None:
    run(
        page,
        """
        let total = 1;
        api.answer = async () => json({ total, characters: [CARD] });
        const container = await opened();
        const before = asked.length;
        total = 2;
        for (let i = 0; i < 40; i += 1) { tell('likeness.changed', {}); await soon(25); }
        await soon(400);
        assert.match(container.text, /2 characters/);
        assert(asked.length - before >= 2 && asked.length - before <= 5, `${asked.length - before} questions`);
        total = 3;
        tell('status', { exec_info: { queue_remaining: 0 } });  // a graph of another browser has run
        await soon(400);
        assert.match(container.text, /3 characters/);
        const now = asked.length;
        tell('status', null);  // ComfyUI does not answer
        await soon(400);
        assert.equal(asked.length, now);
        """,
    )


def test_a_slow_server_is_not_asked_again_before_it_has_answered(page: Path) -> None:
    run(
        page,
        """
        let total = 1, open = 0, most = 0;
        api.answer = async () => {
          most = Math.max(most, open += 1);
          await soon(total === 1 ? 0 : 500);
          open -= 1;
          return json({ total, characters: [CARD] });
        };
        const container = await opened();
        total = 2;
        most = 0;
        for (let i = 0; i < 50; i += 1) { tell('likeness.changed', {}); await soon(25); }
        assert.match(container.text, /2 characters/);  // and the changes go on
        assert.equal(most, 1);
        tabs[0].destroy();
        const before = asked.length;
        await soon(1200);
        assert.equal(asked.length, before);
        """,
    )


def test_what_has_not_changed_stays_under_the_users_hands(page: Path) -> None:
    run(
        page,
        """
        let name = 'Ada';
        const list = () => ({ total: 1, characters: [{ ...CARD, name }] });
        api.answer = async (path) => json(path.includes('?') ? list() : { ...PAGE_OF_ADA, name });
        const container = await opened();
        const card = () => container.all().find((found) => found.attributes['data-slug'] === 'ada');
        const part = (name) => container.all().find((found) => found.attributes.class?.endsWith(name));
        const body = () => part('likeness-body').children[0];
        for (const [open, shown] of [[() => {}, card], [() => card().click(), body]]) {
          open();
          await soon();
          const before = shown();
          tell('likeness.changed', {});
          await soon(400);
          assert.equal(shown(), before);
          name += ' Ray';
          tell('likeness.changed', {});
          await soon(400);
          assert.notEqual(shown(), before);
          assert.match(container.text, new RegExp(name));
        }
        """,
    )


def test_every_upload_has_a_folder_of_its_own(page: Path) -> None:
    run(
        page,
        """
        const { upload, view } = await import(`${LIB}/http.mjs`);
        const lots = [];
        api.answer = async (path, { body }) => {
          lots.push(body.get('subfolder'));
          return json({ name: 'a.png', subfolder: lots.at(-1) });
        };
        const names = [...await upload([new Blob(['x']), new Blob(['y'])]), ...await upload([new Blob(['z'])])];
        for (const lot of lots) assert.match(lot, /^likeness\\/uploads\\/[0-9a-f]{32}$/);
        assert(lots[0] === lots[1] && lots[1] !== lots[2]);
        assert.deepEqual(names, lots.map((lot) => `${lot}/a.png`));
        const file = { filename: 'a b&.zip', subfolder: 'x', type: 'output', report: 'no' };
        assert.equal(view(file), '/view?filename=a+b%26.zip&subfolder=x&type=output');
        """,
    )


def test_pictures_of_rows_that_fly_past_are_not_asked_for(page: Path) -> None:
    run(
        page,
        """
        const { virtualList } = await import(`${LIB}/virtual-list.mjs`);
        const drawn = [];
        const draw = ({ n }) => {
          const picture = new Element('img'), element = new Element('div');
          picture.setAttribute('data-src', `/${n}`);
          element.append(new Element('button'), picture);
          drawn.push(picture);
          return element;
        };
        const all = Array.from({ length: 1001 }, (_, n) => ({ n }));
        const fetchPage = async (first, most) => ({ total: 1001, rows: all.slice(first, first + most) });
        const list = virtualList({ height: 76, label: 'Characters', draw, fetchPage, empty: () => new Element('p') });
        await list.show();
        await soon();
        const fetched = () => drawn.filter((one) => one.attributes.src).map((one) => one.attributes.src);
        const first = fetched();
        assert(first.includes('/0') && first.length < 20, `${first}`);
        for (let i = 0; i < 100; i += 1) { list.element.scrollTop += 700; list.element.on.scroll({}); await soon(2); }
        assert(drawn.length > 500, `${drawn.length} rows`);
        assert.deepEqual(fetched(), first);
        await soon(300);
        assert(fetched().includes('/921') && fetched().length < 50, `${fetched().length} pictures`);
        """,
    )
