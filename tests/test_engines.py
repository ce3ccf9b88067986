"""Work gives the same results wherever it runs, and goes on when a worker or a machine dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bench.wording import nltk_rules as oracle
from catlip.cli import InputError
from catlip.system.engines import local, on_ray


class Watched(list):
    """A list that knows how many of its items have been taken."""

    taken = 0

    def __iter__(self) -> Iterator[object]:
        for item in super().__iter__():
            self.taken += 1
            yield item


def square(number):
    if number == 3:
        raise InputError("three is refused")
    if number == 4:
        raise FileNotFoundError(2, "No such file", "four")
    return number * number


def fail(number):
    raise ZeroDivisionError(f"a bug with {number}")


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_item_comes_with_its_result_or_with_the_user_s_error(workers):
    with local(workers) as apply:
        found = dict(apply(square, range(6)))
        assert dict(apply(square, [7])) == {7: 49}
        assert list(apply(square, [])) == []
    assert {item: found[item] for item in (0, 1, 2, 5)} == {0: 0, 1: 1, 2: 4, 5: 25}
    assert (str(found[3]), found[4].filename) == ("three is refused", "four")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_not_taken_for_a_user_s_error(workers):
    with pytest.raises(ZeroDivisionError), local(workers) as apply:
        list(apply(fail, range(4)))


def test_only_a_few_items_are_taken_at_a_time():
    items = Watched(range(10, 200))
    with local(2) as apply:
        results = apply(square, items)
        for seen in range(1, 20):
            next(results)
            assert items.taken <= seen + 2


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(InputError, match="--workers"), local(2) as apply:
        list(apply(die, range(4)))


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InputError, match=r"catlip-bench\[cluster\]"),
        on_ray("auto", {}),
    ):
        pass


def test_without_a_cluster_the_error_says_how_to_start_one():
    pytest.importorskip("ray")
    with (
        pytest.raises(InputError, match=r"--ray-address auto.*ray start"),
        on_ray("auto", {}),
    ):
        pass


@pytest.fixture(scope="module")
def cluster():
    """Two machines of one processor each, as processes of this one."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    try:
        cluster.second = cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()


def test_a_user_s_error_is_a_result_and_not_tried_again_but_a_dead_worker_is(cluster, tmp_path):
    log = tmp_path / "attempts"

    def attempt(number):
        with open(log, "a") as file:
            file.write(f"{number}\n")
        if number == 1:
            raise InputError("one is refused")
        if number == 2 and log.read_text().split().count("2") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.environ.get("GIVEN"), number

    with on_ray(cluster.address, {"GIVEN": "x"}) as apply:
        found = dict(apply(attempt, range(4)))
    assert {number: found[number] for number in (0, 2, 3)} == {
        0: ("x", 0),
        2: ("x", 2),
        3: ("x", 3),
    }
    assert str(found[1]) == "one is refused"
    assert sorted(log.read_text().split()) == ["0", "1", "2", "2", "3"]


def test_a_machine_that_dies_changes_nothing_in_the_labels(cluster, tmp_path):
    """The last test here: afterwards the cluster has one machine."""
    sentences = oracle.glosses()[::20]
    (tmp_path / "captions.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in sentences)
    )
    command = [
        sys.executable,
        "-m",
        "catlip.label",
        "captions.jsonl",
        "--part-rows",
        "200",
        "--quiet",
    ]
    subprocess.run(
        [*command, "--labels-dir", "local/labels"], cwd=tmp_path, check=True, capture_output=True
    )
    expected = {path.name: path.read_bytes() for path in (tmp_path / "local/labels").iterdir()}
    assert len(expected) > 20

    command += ["--labels-dir", "ray/labels", "--engine", "ray", "--ray-address", cluster.address]
    labels, pipe = tmp_path / "ray/labels", subprocess.PIPE
    process = subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    try:
        while len(list(labels.glob("*.npz"))) < 5:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        cluster.remove_node(cluster.second, allow_graceful=False)
        assert len(list(labels.glob("*.npz"))) < len(expected)
        output, messages = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, messages
    assert f"{len(sentences):,}" in output
    assert {path.name: path.read_bytes() for path in labels.glob("*.npz")} == expected
    before = {path: path.stat().st_mtime_ns for path in labels.iterdir()}
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in labels.iterdir()} == before
