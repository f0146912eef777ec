"""Locks know their owner: who stands still for too long takes nobody's lock, and no update."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zarr
from my_fractal_tasks.kit import models, ngff, open_image, plate_images, publish
from my_fractal_tasks.kit.plate import create_plate
from package_images import PACKAGE, write_image, write_plate

# Stops itself when it is about to write: with the lock, and with what it has read.
STOPPED = """
import os, signal, sys
from pathlib import Path
from my_fractal_tasks.kit import ngff, plate, publish

write = publish.Lock.replace
times = 0

def stop(lock, file, text):
    global times
    times += 1
    if times == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGSTOP)
    write(lock, file, text)

publish.Lock.replace = stop
path = Path(sys.argv[2])
if sys.argv[1] == "image":
    ngff.add_to_image(path)
elif sys.argv[1] == "well":
    ngff.add_to_well(path, "0")
elif sys.argv[1] == "consolidated":
    ngff.drop_consolidated(path)
else:
    plate.create_plate(path, {("B", "01"): {"0": 1}}, version=sys.argv[4], extend=True)
"""


def stopped(*args: object) -> subprocess.Popen[bytes]:
    """Start a process, and wait until it has stopped."""
    process = subprocess.Popen([sys.executable, "-c", STOPPED, *map(str, args)])
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    return process


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(publish, "LOCK_EXPIRES", 0.3)
    monkeypatch.setattr(publish, "LONG_LOCK_EXPIRES", 0.3)


def go_on(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.send_signal(signal.SIGCONT)
    assert process.wait() == 0
    assert not [*folder.rglob("*.lock"), *folder.rglob("*.partial")]


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_no_table_is_lost_when_a_task_stops_within_its_update(tmp_path, version, at):
    path = tmp_path / "image.zarr"
    write_image(path, "yx", version)
    for name in "ab":
        (path / "tables" / name).mkdir(parents=True)
    if version == "0.5" and at == 2:  # group and attributes are one file
        ngff.add_to_image(path / "tables" / "b")
        at = 1
    process = stopped("image", path / "tables" / "a", at)
    ngff.add_to_image(path / "tables" / "b")
    go_on(process, tmp_path)
    group = zarr.open_group(path / "tables", mode="r")
    assert sorted(group.attrs["tables"]) == ["a", "b"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_no_image_of_a_well_is_lost_when_a_task_stops(tmp_path, version):
    (path,) = write_plate(tmp_path / "plate.zarr", {"A/01": [0]}, version=version)
    process = stopped("well", path.with_name("0a"), 1)
    ngff.add_to_well(path.with_name("0b"), "0")
    go_on(process, tmp_path)
    well = ngff.ome_metadata(ngff.open_group(path.parent))["well"]
    assert [image["path"] for image in well["images"]] == ["0", "0b", "0a"]


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_no_well_of_a_plate_is_lost_when_a_task_stops(tmp_path, version, at):
    plate = tmp_path / "plate.zarr"
    create_plate(plate, {("A", "01"): {"0": 0}}, version=version)
    process = stopped("plate", plate, at, version)
    new = {("B", "01"): {"1": 2}, ("B", "02"): {"0": 0}}
    create_plate(plate, new, version=version, extend=True)
    go_on(process, tmp_path)
    names = {"A/01/0", "B/01/0", "B/01/1", "B/02/0"}
    assert {*plate_images(plate)} == {plate / name for name in names}
    metadata = ngff.ome_metadata(ngff.open_group(plate))["plate"]
    assert sorted(a["id"] for a in metadata["acquisitions"]) == [0, 1, 2]
    assert [row["name"] for row in metadata["rows"]] == ["A", "B"]


def test_a_label_stays_when_a_task_stops_while_it_drops_consolidated_metadata(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "yx", "0.5")
    zarr.consolidate_metadata(path)
    process = stopped("consolidated", path / "labels" / "a", 1)
    zarr.open_group(path, mode="r+", use_consolidated=False).attrs["mine"] = 1
    with publish.locked(path):
        pass
    go_on(process, tmp_path)
    assert open_image(path).group.attrs["mine"] == 1
    assert "consolidated_metadata" not in json.loads((path / "zarr.json").read_text())


def test_who_stood_still_does_not_take_the_next_ones_lock(tmp_path):
    file = tmp_path / "list.json"
    with publish.locked(file) as first:
        with publish.locked(file) as second:  # after the first one's has expired
            assert (first.is_held(), second.is_held()) == (False, True)
            with pytest.raises(publish.LockLostError, match=r"list\.json"):
                first.replace(file, "first")
            assert not file.exists()
            second.replace(file, "second")
        with publish.locked(file) as third:
            third.replace(file, "third")
    assert file.read_text() == "third"
    with publish.locked(file) as first:
        entered = publish.locked(file)
        second = entered.__enter__()
    assert second.is_held(), "the first one has left meanwhile"
    entered.__exit__(None, None, None)
    assert {path.name for path in tmp_path.iterdir()} == {"list.json"}


def test_a_missing_folder_is_no_lost_lock(tmp_path):
    with publish.locked(tmp_path / "a") as lock, pytest.raises(FileNotFoundError):
        lock.replace(tmp_path / "absent" / "file", "text")


def test_of_many_writers_each_adds_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "LOCK_EXPIRES", 10)
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    names = [f"{number}" for number in range(24)]
    for name in names:
        (path / "tables" / name).mkdir(parents=True)
    threads = [
        threading.Thread(target=ngff.add_to_image, args=(path / "tables" / name,))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    group = zarr.open_group(path / "tables", mode="r")
    assert sorted(group.attrs["tables"]) == sorted(names)


def test_a_unit_that_stood_still_takes_the_model_that_another_one_has_fetched(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("FRACTAL_CACHE_DIR", str(tmp_path))
    code = (
        "import os, signal, sys\n"
        "from my_fractal_tasks.kit import models\n"
        "def fetch(path):\n"
        "    path.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    path.write_text('of the first')\n"
        "print(models.cached_model('model', fetch).read_text())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env=os.environ | {"FRACTAL_CACHE_DIR": str(tmp_path)},
    )
    os.waitpid(process.pid, os.WUNTRACED)
    path = models.cached_model("model", lambda path: path.write_text("of the second"))
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0] == b"of the second\n"
    assert process.returncode == 0
    assert path.read_text() == "of the second"
    assert [file.name for file in path.parent.iterdir()] == ["model"]


def test_a_lock_of_a_long_work_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "LOCK_EXPIRES", 2)
    monkeypatch.setattr(publish, "LONG_LOCK_EXPIRES", 2)
    with publish.locked(tmp_path / "a", long=True) as lock:
        end = time.monotonic() + 3
        waiting = threading.Thread(
            target=lambda: publish.locked(tmp_path / "a").__enter__()
        )
        waiting.start()
        while time.monotonic() < end:
            assert lock.is_held()
            time.sleep(0.1)
    waiting.join()


def test_no_module_of_the_package_locks_by_itself():
    """A lock that its holder may lose is of use only to who asks, as `while_locked` does."""
    found = {
        file.name
        for file in PACKAGE.rglob("*.py")
        if "locked(" in file.read_text().replace("while_locked(", "")
    }
    assert found == {"publish.py", "models.py"}
