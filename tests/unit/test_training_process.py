"""`likeness train` with a trainer that only pretends: what is checked, shown, stopped, and believed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.cli import train_job, trainer
from likeness.cli.train_states import newest_state, steps_of
from likeness.errors import LikenessError, LoraError
from likeness.files import locked

from ..lora_files import lora_file
from ..pretended_trainer import Setup, gone, parsed, pretend, pretended, train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups as POSIX has them")


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    return pretended(tmp_path, monkeypatch)


# ---- it works


def test_a_training_that_leaves_a_lora_is_a_success(setup: Setup, capfd: pytest.CaptureFixture[str]) -> None:
    pretend(setup, "steps(1, 6, 6)\ntime.sleep(0.5)\nsteps(6, 6, 6)\nlora()\nprint('\\nmodel saved.', file=sys.stderr)")
    assert train(setup, "--set", "output_name=ada v1") == 0
    out, err = capfd.readouterr()
    lora = setup.set / "output" / "ada v1.safetensors"
    assert f"Trained {lora} (rank 4)" in out
    assert f"likeness lora register '{lora}' --character ada --training-set 'first set'" in out
    assert err.count("step 6 of 6, loss 0.1234, 00:06 left") == 1
    (log,) = (setup.set / "logs").glob("train_sd15_*.log")
    assert b"INFO prepare" in log.read_bytes() and b"model saved." in log.read_bytes()


def test_it_runs_in_its_own_place_group_and_environment_without_a_shell(setup: Setup) -> None:
    pretend(setup, "lora()")
    assert train(setup, "--set", "comment=$(touch bad); a 'b'", "--set", "cache_latents=true") == 0
    told = setup.started()
    assert told["cwd"] == str(setup.home) and told["path"] is None and told["stdin"] == ""
    assert told["group"] == told["pid"] != os.getpgid(0)
    argv = told["argv"]
    assert argv[0] == str(setup.home / "train_network.py")
    assert argv[argv.index("--config_file") + 1] == str(setup.set / "train_sd15.toml")
    assert "--comment=$(touch bad); a 'b'" in argv and "--console_log_simple" in argv
    assert f"--output_dir={setup.set / 'output'}" in argv and "--output_name=first set_sd15" in argv
    assert not (setup.home / "bad").exists() and "--cache_latents" in argv


def test_the_pythons_of_virtual_environments_are_not_resolved(setup: Setup) -> None:
    link = setup.base / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.executable)
    pretend(setup, "lora()")
    job = train_job.job_of(parsed(setup, "--python", str(link)))
    assert job.command[0] == str(link)


# ---- it does not


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("steps(1, 3, 6)", "there is no new .*first set_sd15.safetensors"),
        ("print('ERROR No data found. Please verify', file=sys.stderr)", "it found no pictures: check the set"),
        (
            "steps(1, 2, 6)\nraise RuntimeError('CUDA out of memory. Tried')",
            "status 1 at step 2 of 6.*too little memory",
        ),
        ("raise ValueError('odd thing')", "status 1: its last lines: .*odd thing"),
        ("sys.exit(3)", "status 3"),
        ("import no_such_package", "its Python lacks a package"),
        ("os.kill(os.getpid(), 9)", "status -9"),
    ],
)
def test_an_end_without_a_lora_is_an_error_that_says_why(setup: Setup, code: str, why: str) -> None:
    pretend(setup, code)
    with pytest.raises(LikenessError, match=why) as caught:
        train(setup)
    assert "\n" not in str(caught.value) and "logs" in str(caught.value)


def test_the_lora_of_an_earlier_training_is_no_success(setup: Setup) -> None:
    lora_file(setup.set / "output" / "first set_sd15.safetensors")
    pretend(setup, "steps(1, 6, 6)")
    with pytest.raises(LikenessError, match="there is no new"):
        train(setup)


def test_a_lora_that_does_not_load_is_no_success(setup: Setup) -> None:
    made = setup.base / "made.safetensors"
    made.write_bytes(made.read_bytes()[:-20])
    pretend(setup, "steps(1, 6, 6)\nlora()")
    with pytest.raises(LoraError, match="cut short"):
        train(setup)


def test_a_loss_that_is_no_number_is_told_once(setup: Setup, capfd: pytest.CaptureFixture[str]) -> None:
    pretend(setup, "steps(1, 6, 6, 'nan')\nlora()")
    assert train(setup) == 0
    assert capfd.readouterr().err.count("The loss is no number any more") == 1


# ---- stopping


def stop_when(condition: Callable[[], bool], how: Callable[[], None]) -> threading.Thread:
    def watch() -> None:
        end = time.monotonic() + 20
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        how()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("stubborn", [False, True])
def test_stopping_ends_the_trainer_and_its_children(
    setup: Setup, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sign: int, stubborn: bool
) -> None:
    monkeypatch.setattr(trainer.stop_all, "__defaults__", (0.5,))
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    wait = f"child({ignore + 'import time; time.sleep(600)'!r})\nsteps(1, 3, 6)\nopen(r'{setup.about}.up', 'w')\n"
    pretend(setup, f"{ignore}{wait}time.sleep(600)")
    up = Path(f"{setup.about}.up")
    thread = stop_when(up.exists, lambda: os.kill(os.getpid(), sign))
    with pytest.raises(KeyboardInterrupt):
        train(setup)
    thread.join()
    assert gone(setup.started()["pid"]) and gone(setup.child())
    assert "No state was saved" in capfd.readouterr().err


def test_a_child_that_outlives_the_trainer_is_ended_and_holds_nothing_up(setup: Setup) -> None:
    pretend(setup, "child()\nsteps(1, 6, 6)\nlora()")
    begun = time.monotonic()
    assert train(setup) == 0
    assert time.monotonic() - begun < 30 and gone(setup.child())


def test_two_trainings_of_one_set_do_not_meet(setup: Setup) -> None:
    pretend(setup, "lora()")
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(setup.set / "logs" / "train.lock"):
            ready.set()
            done.wait(20)

    other = threading.Thread(target=hold)
    other.start()
    ready.wait(20)
    try:
        with pytest.raises(LikenessError, match=r"Another training of .* is running"):
            train(setup)
    finally:
        done.set()
        other.join()
    assert train(setup) == 0


# ---- going on


def state(setup: Setup, name: str, steps: int, whole: bool = True) -> Path:
    """As accelerate leaves it: the step first, the random states last."""
    path = setup.set / "output" / name
    path.mkdir(parents=True)
    (path / "train_state.json").write_text(json.dumps({"current_epoch": 1, "current_step": steps}))
    if whole:
        (path / "random_states_0.pkl").write_bytes(b"anything")
    return path


def test_resuming_takes_the_whole_state_that_was_written_last(setup: Setup) -> None:
    state(setup, "first set_sd15-step00000009-state", 9)  # of an earlier training
    newest = state(setup, "first set_sd15-000003-state", 4)
    state(setup, "first set_sd15-step00000005-state", 5, whole=False)  # was killed while it was written
    state(setup, "first set_sd15 two-state", 9)  # of another name
    assert newest_state(setup.set / "output", "first set_sd15") == newest
    pretend(setup, "lora()")
    assert train(setup, "--resume") == 0
    argv = setup.started()["argv"]
    assert f"--resume={newest}" in argv and "--skip_until_initial_step" in argv


@pytest.mark.parametrize(
    ("epoch", "step", "true"),
    [
        (1, 6, 6),
        (2, 8, 8),
        (3, 18, 18),
        (2, 2, 8),
        (3, 12, 18),
        (4, 1, 19),
        (None, 12, 12),
        (9, "6", None),
        (1, 0, None),
    ],
)
def test_a_state_is_as_far_as_its_epoch_says(setup: Setup, epoch: int | None, step: Any, true: int | None) -> None:
    """As sd-scripts numbers them, before and after a resume, with six steps in an epoch."""
    path, logs = state(setup, "first set_sd15-state", 1), setup.set / "logs"
    (path / "train_state.json").write_text(json.dumps({"current_epoch": epoch, "current_step": step}))
    assert steps_of(path, logs, "sd15") == (step if true is not None else None), "without a log"
    logs.mkdir()
    (logs / "train_sd15_20260101-000000.log").write_text("  num batches per epoch / 1epoch: 99\n")
    (logs / "train_sd15_20260102-000000.log").write_text("a\n  num batches per epoch / 1epoch: 6\nb\n")
    (logs / "train_sd15_20260103-000000.log").write_text("stopped before it told\n")
    (logs / "train_sdxl_20260104-000000.log").write_text("  num batches per epoch / 1epoch: 77\n")
    assert steps_of(path, logs, "sd15") == true


def test_going_on_again_begins_where_the_last_part_ended(setup: Setup, capfd: pytest.CaptureFixture[str]) -> None:
    state(setup, "first set_sd15-step00000006-state", 6)
    newest = state(setup, "first set_sd15-step00000002-state", 2)  # the eighth, of the second epoch
    (newest / "train_state.json").write_text(json.dumps({"current_epoch": 2, "current_step": 2}))
    (setup.set / "logs").mkdir()
    (setup.set / "logs" / "train_sd15_20260102-000000.log").write_text("  num batches per epoch / 1epoch: 6\n")
    pretend(setup, "steps(1, 4, 10)\nprint(file=sys.stderr, flush=True)\nlora()")
    assert train(setup, "--resume", "--set", "max_train_steps=12") == 0
    argv = setup.started()["argv"]
    assert f"--resume={newest}" in argv and "--initial_step=8" in argv
    assert "step 12 of 12" in capfd.readouterr().err
    assert train(setup, "--resume", "--set", "max_train_steps=12", "--set", "gradient_accumulation_steps=2") == 0
    assert not any(word.startswith("--initial_step") for word in setup.started()["argv"])


def test_nothing_to_resume_from_and_nothing_left_to_do_are_told(setup: Setup) -> None:
    pretend(setup, "lora()")
    with pytest.raises(LikenessError, match="holds no state"):
        train(setup, "--resume")
    state(setup, "first set_sd15-state", 6)
    with pytest.raises(LikenessError, match="has 6 steps, all of the 6 that are wanted"):
        train(setup, "--resume")
    assert train(setup, "--resume", "--set", "max_train_steps=12") == 0


def test_after_a_failure_the_state_to_go_on_from_is_named(setup: Setup) -> None:
    code = "d = told['output_dir'] + '/first set_sd15-step00000002-state'\nos.makedirs(d)\n"
    code += "json.dump({'current_step': 2}, open(d + '/train_state.json', 'w'))\n"
    code += "open(d + '/random_states_0.pkl', 'w').write('x')\nraise SystemExit(1)"
    pretend(setup, code)
    with pytest.raises(LikenessError, match=r"Go on from first set_sd15-step00000002-state with .*--resume"):
        train(setup)


# ---- the trainer's words


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("steps:  33%|███▎ | 1/3 [00:03<00:06, 3.41s/it, avr_loss=1.09]", (1, 3, "00:06", 1.09)),
        ("steps:   0%|          | 0/2000 [00:00<?, ?it/s]", (0, 2000, "?", None)),
        ("x steps: 100%|##| 2000/2000 [1:02:03<00:00,  1.86s/it, avr_loss=nan]", (2000, 2000, "00:00", "nan")),
        (
            "steps:  50%|#####     | 5/10 [00:01<00:01,  5.0it/s, Average key norm=1, avr_loss=0.5]",
            (5, 10, "00:01", 0.5),
        ),
        ("100%|##########| 20/20 [00:00<00:00, 99.0it/s]", None),
        ("epoch 1/10", None),
    ],
)
def test_progress_is_read_from_tqdm(line: str, told: Any) -> None:
    found = trainer.progress_in(line)
    if told is None:
        assert found is None
    else:
        loss = found.loss if found.loss is None or found.loss == found.loss else "nan"
        assert (found.step, found.of, found.left, loss) == told


def test_output_that_is_cut_anywhere_is_read_the_same() -> None:
    text = "a\r\nsteps:  33%|███▎ | 1/3 [00:03<00:06, avr_loss=1.5]\rsteps:  66%|███▎ | 2/3 [00:03<00:06]\nß\n".encode()
    for size in range(1, len(text)):
        told = trainer._Told()
        for start in range(0, len(text), size):
            told.take(text[start : start + size])
        assert list(told.lines) == ["a", "ß"] and told.progress is not None and told.progress.step == 2


def test_a_line_that_never_ends_takes_little_memory() -> None:
    told = trainer._Told()
    for _ in range(200):
        told.take(b"x" * 65536)
    assert len(told._rest) <= 10_000


def test_the_fake_is_what_python_runs(setup: Setup) -> None:
    """The tests above stand on it."""
    pretend(setup, "sys.exit(7)")
    ran = subprocess.run([sys.executable, setup.home / "train_network.py"], capture_output=True, check=False, stdin=-3)
    assert ran.returncode == 7 and setup.about.exists()
