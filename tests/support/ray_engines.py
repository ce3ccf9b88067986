"""What is tried on a cluster of Ray; test_engines.py runs this file in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from glosses import glosses

from catlip.cli import InputError
from catlip.system.engines import ray_cluster


@pytest.fixture(scope="module")
def cluster():
    """Two machines of one processor each, as processes of this one."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray import cluster_utils

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={**node, "include_dashboard": False}
    )
    try:
        cluster.second = cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()


def test_dead_worker_is_tried_again_and_an_error_is_not(cluster, tmp_path):
    log = tmp_path / "attempts"

    def attempt(number):
        with open(log, "a") as file:
            file.write(f"{number}\n")
        if number == 1:
            raise InputError("one is refused")
        if number == 2 and log.read_text().split().count("2") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.environ.get("GIVEN"), number

    with ray_cluster(cluster.address, {"GIVEN": "x"}) as apply:
        found = dict(apply(attempt, range(4)))
    assert str(found.pop(1)) == "one is refused"
    assert found == {number: ("x", number) for number in (0, 2, 3)}
    assert sorted(log.read_text().split()) == ["0", "1", "2", "2", "3"]


def test_machine_that_dies_changes_nothing_in_the_labels(cluster, tmp_path):
    """The last test here: afterwards the cluster has one machine."""
    sentences = glosses()[::40]
    (tmp_path / "captions.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in sentences)
    )
    label = "-m catlip.label captions.jsonl --part-rows 100 --quiet --labels-dir"
    command = [sys.executable, *label.split()]
    subprocess.run([*command, "local"], cwd=tmp_path, check=True, capture_output=True)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "local").glob("*.npz")}
    assert len(expected) > 20
    command += ["ray", "--engine", "ray", "--ray-address", cluster.address]
    labels, pipe = tmp_path / "ray", subprocess.PIPE
    process = subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    try:
        while len(list(labels.glob("*.npz"))) < 3:
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
