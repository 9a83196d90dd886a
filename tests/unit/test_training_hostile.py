"""`likeness train` against a trainer, a set and a Python that misbehave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from likeness.cli import train_job, trainer, trainer_checks
from likeness.cli.places import Places
from likeness.cli.train_states import newest_state
from likeness.create import NamedImage, create_character, draft
from likeness.doctor import Folders
from likeness.errors import LibraryError, LikenessError
from likeness.library import Library

from ..conftest import ROOT
from ..fakes import FakeAnalyser, face_picture
from ..pretended_trainer import Setup, gone, is_alive, parsed, pretend, pretended, train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups as POSIX has them")


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    return pretended(tmp_path, monkeypatch)


# ---- signals


NOHUP = """
import signal, sys, time
from pathlib import Path
from likeness.cli import trainer
if sys.argv[2] == "ignored":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
code = "import signal, sys, time; print(signal.getsignal(signal.SIGHUP).name, flush=True); time.sleep(1.5)"
told = trainer.run_trainer([sys.executable, "-c", code], Path("."), Path(sys.argv[1]), lambda news: None)
print("ended", told.code, *told.lines)
"""


@pytest.mark.parametrize("how", ["ignored", "not ignored"])
def test_a_closed_terminal_stops_a_training_unless_nohup_started_it(tmp_path: Path, how: str) -> None:
    log = tmp_path / "log"
    words = [sys.executable, "-c", NOHUP, str(log), how]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 20
        while not (log.exists() and log.stat().st_size) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=30)
    if how == "ignored":
        assert "ended 0 SIG_IGN" in out and process.returncode == 0, "the trainer goes on, too"
    else:
        assert "KeyboardInterrupt" in err and "ended" not in out


# ---- what it writes


def test_a_trainer_that_prints_without_end_fills_neither_memory_nor_disk(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_MAX_LOG", 1 << 20)
    pretend(setup, "for i in range(300): print('x' * 99999)\nprint('the last line', flush=True)\nlora()")
    assert train(setup) == 0
    (log,) = (setup.set / "logs").glob("*.log")
    data = log.read_bytes()
    assert len(data) < 2 << 20 and data.count(b"the log ends here, at 1,048,576 bytes") == 1
    assert data.startswith(b"INFO prepare") and data.rstrip().endswith(b"the last line")


def test_a_trainer_waits_for_a_log_that_is_slower() -> None:
    code = "import sys\nfor i in range(400): sys.stdout.write('x' * 65536)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    output = trainer._output(process)
    next(output)
    time.sleep(2)
    waits = process.poll() is None
    output.close()
    process.kill()
    assert process.wait() and waits and readers_end()


def readers_end() -> bool:
    """Whether the threads that read a pipe end soon."""
    end = time.monotonic() + 5
    while any(t.name.endswith("(_read)") for t in threading.enumerate()) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(t.name.endswith("(_read)") for t in threading.enumerate())


def test_a_log_that_cannot_be_written_does_not_stop_the_training(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, data: bytes) -> int:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(trainer, "open", lambda *a, **k: Full(), raising=False)
    pretend(setup, "steps(1, 6, 6)\nlora()")
    assert train(setup) == 0
    assert capfd.readouterr().err.count("The log cannot be written any more (No space left on device)") == 1


@pytest.mark.timeout(60)
def test_a_grandchild_that_goes_on_writing_holds_nothing_up(setup: Setup) -> None:
    code = "import time\nwhile True:\n    print('still here', flush=True)\n    time.sleep(0.1)"
    pretend(setup, f"child({code!r})\nlora()")
    begun = time.monotonic()
    assert train(setup) == 0
    assert time.monotonic() - begun < 30 and gone(setup.child()) and not is_alive(setup.child())


def test_the_trainers_last_lines_do_not_steer_the_terminal(setup: Setup) -> None:
    nasty = "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b]8;;http://x\x1b\\\\link\x9b2J\x08\u202eback"
    pretend(setup, f"print({nasty!r})\nsys.exit(1)")
    with pytest.raises(LikenessError, match="status 1") as caught:
        train(setup)
    assert str(caught.value).isprintable() and "red" in str(caught.value) and "title" not in str(caught.value)


@pytest.mark.parametrize("end", ["lora()", "sys.exit(1)"])
def test_output_in_another_encoding_is_taken_as_it_is(setup: Setup, end: str) -> None:
    pretend(setup, rf"sys.stdout.buffer.write(b'\xff\xfe caf\xe9 \x93\xfa\n'); sys.stdout.flush(){chr(10)}{end}")
    if end == "lora()":
        assert train(setup) == 0
    else:
        with pytest.raises(LikenessError, match=r"status 1: its last lines: .*caf") as caught:
            train(setup)
        assert str(caught.value).isprintable()
    (log,) = (setup.set / "logs").glob("*.log")
    assert b"\xff\xfe caf\xe9 \x93\xfa" in log.read_bytes()


@pytest.mark.parametrize("sign", ["No space left on device", "[Errno 28] No space left on device: 'x'"])
def test_a_disk_that_gets_full_is_told_with_where_to_go_on(setup: Setup, sign: str) -> None:
    state(setup.set / "output", "first set_sd15-step00000100-state", 100)
    pretend(setup, f"steps(1, 2, 6)\nraise OSError({sign!r})")
    with pytest.raises(LikenessError, match=r"the disk is full: free some space .* Go on from first set_sd15-step"):
        train(setup)


def test_progress_with_5000_digits_is_a_line_like_any_other(setup: Setup) -> None:
    assert trainer.progress_in(f"steps:  33%|#| {'1' * 5000}/3 [00:03<00:06, avr_loss=1]") is None
    assert trainer.progress_in("\x1b[32msteps:  33%|#| 1/3 [00:03<00:06, avr_loss=1]") is not None
    pretend(setup, f"print('steps:  33%|#| {'1' * 5000}/3 [00:03<00:06]')\nlora()")
    assert train(setup) == 0


# ---- registering


@pytest.fixture
def places(tmp_path: Path) -> Places:
    folders = Folders(characters=(tmp_path / "characters",), loras=(tmp_path / "loras",))
    pictures = [NamedImage(f"photo {i}", face_picture(1, i)) for i in range(2)]
    create_character(Library(folders.characters), draft("Ada Ray", trigger="adaray"), pictures, FakeAnalyser())
    return Places(None, folders, tmp_path / "cache")


def test_a_character_that_is_not_there_is_told_before_the_training(setup: Setup, places: Places) -> None:
    pretend(setup, "lora()")
    for words in ((), ("--dry-run",)):
        with pytest.raises(LibraryError, match="No character 'ada'"):
            train(setup, "--register", *words, places=places)
    assert not setup.about.exists()
    assert train(setup, "--register", "--character", "Ada Ray", places=places) == 0, "by the name it is shown under"
    assert len(places.library().get("ada_ray").settings("sd15").loras) == 1


def test_what_cannot_be_registered_is_told_with_the_file_and_the_command(setup: Setup, places: Places) -> None:
    pretend(setup, "lora()")
    places.library().update("ada_ray", lambda p: p.model_copy(update={"trigger": "someone"}))
    with pytest.raises(LikenessError, match="without the profile's trigger 'someone'") as caught:
        train(setup, "--register", "--character", "ada_ray", places=places)
    lora = setup.set / "output" / "first set_sd15.safetensors"
    assert f"{lora} is there" in str(caught.value) and lora.is_file()
    assert f"likeness lora register '{lora}' --character ada_ray" in str(caught.value)


# ---- states and names


def state(output: Path, name: str, steps: int) -> Path:
    path = output / name
    path.mkdir(parents=True)
    (path / "train_state.json").write_text(json.dumps({"current_step": steps}))
    (path / "random_states_0.pkl").write_bytes(b"x")
    return path


@pytest.mark.parametrize("own", ["ada-step00000100-state", "ada-000100-state", "ada-state"])
def test_the_state_of_another_training_is_not_taken(tmp_path: Path, own: str) -> None:
    for name in ("ada2-state", "ada-2-state", "ada-3-step00000900-state", "ada2-step00000300-state", "xada-state"):
        state(tmp_path, name, 2000)
    assert newest_state(tmp_path, "ada") is None
    assert newest_state(tmp_path / "nowhere", "ada") is None
    assert state(tmp_path, own, 100) == newest_state(tmp_path, "ada")


def test_two_families_of_one_set_do_not_share_their_files(setup: Setup) -> None:
    shutil.copy(setup.set / "train_sd15.toml", setup.set / "train_sdxl.toml")
    (setup.home / "sdxl_train_network.py").write_text("")
    pretend(setup, "lora()")
    loras = {train_job.job_of(parsed(setup, "--family", f)).lora.name for f in ("sd15", "sdxl")}
    assert loras == {"first set_sd15.safetensors", "first set_sdxl.safetensors"}
    state(setup.set / "output", "first set_sd15-step00000100-state", 100)
    with pytest.raises(LikenessError, match="holds no state of first set_sdxl"):
        train_job.job_of(parsed(setup, "--family", "sdxl", "--resume"))


@pytest.mark.parametrize("name", ["true", "-evil", "a=b", "--output_name=x"])
def test_no_name_of_a_set_is_taken_for_an_option(setup: Setup, name: str) -> None:
    moved = setup.set.parent / name
    shutil.copytree(setup.set, moved)
    for config in moved.glob("*.toml"):
        config.write_text(config.read_text().replace(str(setup.set), str(moved)))
    pretend(setup, "lora()")
    arguments = parsed(setup)
    arguments.set = moved
    command = train_job.job_of(arguments).command
    assert f"--output_name={name}_sd15" in command and f"--output_dir={moved / 'output'}" in command
    assert "--output_name=true" in train_job.job_of(parsed(setup, "--set", "output_name=true")).command


# ---- options and files


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("config_file=/etc/passwd", "another config than the set's"),
        ("config_f=/etc/passwd", "another config than the set's"),
        ("output_config=true", "another config than the set's"),
        ("pretrained_model=runwayml/x", "write its whole name, for example pretrained_model_name_or_path"),
        ("cache_latents=false", "does nothing"),
        ("output_name=../../x", "cannot be a file's name"),
        ("output_name=" + "a" * 300, "cannot be a file's name"),
        ("resume=nowhere", "resume: there is no 'nowhere'"),
        ("output_dir=" + "a" * 5000, "output_dir '.*cannot be used"),
        ("vae=" + "a" * 5000, "vae: there is no 'aaa"),
        ("a" * 5000, "is no option"),
    ],
)
def test_an_option_that_bypasses_the_checks_is_refused(setup: Setup, option: str, why: str) -> None:
    pretend(setup, "lora()")
    with pytest.raises(LikenessError, match=why) as caught:
        train(setup, "--set", option)
    assert not setup.about.exists() and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("dataset.toml", "datasets = 5", "names no folder of pictures"),
        ("dataset.toml", "[[datasets]]\nsubsets = 5", "names no folder of pictures"),
        ("dataset.toml", "datasets = [5, {subsets = [7]}]", "names no folder of pictures"),
        ("dataset.toml", "[[datasets]]\n[[datasets.subsets]]\nimage_dir = '" + "a" * 5000 + "'", "which is not there"),
        ("train_sd15.toml", 'output_name = ["a"]', "output_name must be one text"),
        ("train_sd15.toml", "vae = 5", "vae must be one text"),
        ("train_sd15.toml", r'vae = "a\u0000b"', "vae: there is no"),
        ("train_sd15.toml", r'output_dir = "a\u0000b"', "output_dir .* cannot be used"),
    ],
)
def test_a_made_up_config_is_refused_in_one_sentence(setup: Setup, file: str, text: str, why: str) -> None:
    pretend(setup, "lora()")
    path = setup.set / file
    path.write_text(text if file == "dataset.toml" else f"{text}\n{path.read_text()}")
    with pytest.raises(LikenessError, match=why) as caught:
        train(setup)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


# ---- the Python


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (r'printf "\xff\xfe" >&2; echo "[[], 1]"', None),
        ('echo "site says hello"; echo "[[], 1]"', None),
        (r'printf "\xff\x1b[31mno such lib" >&2; exit 1', "is no Python that runs"),
        ("echo hello", "is no Python that runs"),
        ("true", "is no Python that runs"),
        ('echo "[7, 8, 9]"', "is no Python that runs"),
        ("echo 7", "is no Python that runs"),
        ("""echo hello; echo '[["torch"], ""]' """, "lacks .*torch"),
    ],
)
def test_of_what_a_python_prints_the_last_line_counts(setup: Setup, script: str, why: str | None) -> None:
    pretend(setup, "lora()")
    python = setup.base / "python"
    python.write_text(f"#!/bin/bash\n{script}\n")
    python.chmod(0o755)
    if why is None:
        return trainer_checks.check_python(python, setup.home)
    with pytest.raises(LikenessError, match=why) as caught:
        trainer_checks.check_python(python, setup.home)
    assert str(caught.value).isprintable()


def test_no_python_setting_of_ours_is_inherited(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONINSPECT", "PYTHONUSERBASE", "PYTHONWARNINGS"):
        monkeypatch.setenv(name, "1")
    kept: dict[str, Any] = trainer.clean_environment({**os.environ, "PYTORCH_CUDA_ALLOC_CONF": "x"})
    names = {name for name in kept if name.startswith("PYTHON")}
    assert names == {"PYTHONUNBUFFERED", "PYTHONIOENCODING"} and kept["PYTORCH_CUDA_ALLOC_CONF"] == "x"
    monkeypatch.delenv("PYTHONHOME")
    pretend(setup, "lora()")
    assert train(setup) == 0
    assert setup.started()["python"] == sorted(names)


def test_the_places_of_a_training_that_is_not_registered_are_not_asked(setup: Setup) -> None:
    pretend(setup, "lora()")
    assert train(setup, places=SimpleNamespace()) == 0
