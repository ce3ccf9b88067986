"""What is submitted to a cluster: the scripts start what they say, and requeue what was stopped.

Stand-ins on PATH record how they were called; that for srun can also run its command here.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from short_training import wait_for_lines

from catlip.training.preempt import EXIT_CODE

REPOSITORY = Path(__file__).parent.parent
SCRIPTS = REPOSITORY / "scripts"
SCRIPTS_OF_BASH = [*sorted(SCRIPTS.glob("*.sbatch")), REPOSITORY / "run_all.sh"]
SCRIPTS_OF_BASH += [REPOSITORY / ".ci/run"]
LONGEST_S = 240
# Each call is a line of calls.txt, its words between bars.
RECORD = 'printf "%s\\n" "$(printf "%s|" "${0##*/}" "$@")" >>"$CALLS"'
HOSTNAMES = 'if [ "$1" = show ]; then printf "node1\\nnode2\\n"; fi'
RUN_HERE = 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"'


class Cluster:
    """A folder with stand-ins, and the environment of a job that finds them first."""

    def __init__(self, folder: Path, nodes: int, **programs: str):
        self.calls = folder / "calls.txt"
        stand_ins = folder / "stand-ins"
        stand_ins.mkdir()
        for name, does in {"scontrol": HOSTNAMES, **programs}.items():
            path = stand_ins / name
            path.write_text(f"#!/bin/sh\n{RECORD}\n{does}\n")
            path.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{stand_ins}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "CALLS": str(self.calls),
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_NUM_NODES": str(nodes),
        }

    def called(self, program: str) -> list[list[str]]:
        """The arguments of each call of a stand-in."""
        lines = [line.split("|")[:-1] for line in self.calls.read_text().splitlines()]
        return [words[1:] for words in lines if words[0] == program]


def end_group(job: subprocess.Popen[str]) -> None:
    """Kill what is left of a job."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)


@pytest.mark.parametrize("script", SCRIPTS_OF_BASH, ids=lambda path: path.name)
def test_script_is_bash_without_a_fault(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if shellcheck := shutil.which("shellcheck", path=path):
        done = subprocess.run([shellcheck, script], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    if script.suffix == ".sbatch":
        lines = script.read_text().splitlines()
        assert "#SBATCH --requeue" in lines
        assert any(line.startswith("#SBATCH --signal=B:USR1@") for line in lines)


def test_training_starts_one_torchrun_on_each_node(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, nodes=2, srun="env >srun.env")
    script = ["bash", SCRIPTS / "pretrain.sbatch", "--shards", "/a b/{0..9}.tar"]
    job = {"SLURM_GPUS_ON_NODE": "8", "TORCHINDUCTOR_CACHE_DIR": "/scratch/compiled"}
    subprocess.run(script, env=cluster.environment | job, cwd=tmp_path, check=True)
    lines = (tmp_path / "srun.env").read_text().splitlines()
    given = dict(line.partition("=")[::2] for line in lines)
    assert given["TORCHINDUCTOR_CACHE_DIR"] == "/scratch/compiled"
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    assert {given[name] for name in names} == {"expandable_segments:True"}
    ((first, *words),) = cluster.called("srun")
    assert (first, words[0]) == ("--kill-on-bad-exit=1", "torchrun")
    for flag, value in {
        "--nnodes": "2",
        "--nproc-per-node": "8",
        "--rdzv-endpoint": "node1:30211",
        "--rdzv-id": "4711.0",
        "-m": "catlip.pretrain",
        "--shards": "/a b/{0..9}.tar",
    }.items():
        assert words[words.index(flag) + 1] == value
    assert ["requeue", "4711"] not in cluster.called("scontrol")


def test_real_training_is_stopped_requeued_and_goes_on(small_shards, tmp_path) -> None:
    cluster = Cluster(tmp_path, nodes=1, srun=RUN_HERE, scontrol="echo 127.0.0.1")
    recipe = "--method clip --epochs 0 --iterations 60 --micro-batch 2 --device cpu --quiet"
    arguments = [*recipe.split(), "--log-every", "1", "--shards", small_shards, "--out", "run"]
    script = ["bash", SCRIPTS / "pretrain.sbatch", *map(str, arguments)]
    environment = cluster.environment | {"PROGRAM": "baselines.pretrain"}
    where = {"env": environment, "cwd": tmp_path, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen(script, **where, start_new_session=True)
    log = tmp_path / "run" / "log.jsonl"
    try:
        wait_for_lines(log, 1, job, longest_s=LONGEST_S)
        job.send_signal(signal.SIGUSR1)
        errors = job.communicate(timeout=LONGEST_S)[1]
    finally:
        end_group(job)
    assert job.returncode == EXIT_CODE, errors
    assert "SIGUSR1: stopped after step" in errors
    assert ["requeue", "4711"] in cluster.called("scontrol")
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert "step-00000000" < checkpoint.stem < "step-00000060"
    assert not (tmp_path / "run.json").exists()

    job = subprocess.run(script, **where, timeout=LONGEST_S)
    assert job.returncode == 0, job.stderr
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["metrics"]["iterations"] == 60
    assert len(log.read_text().splitlines()) == 60


def test_nodes_label_parts_and_the_job_what_a_node_has_left(small_shards, tmp_path: Path) -> None:
    """Of two tasks, one for each shard of 12 captions, the stand-in for srun runs one."""
    first = 'export SLURM_PROCID=0 SLURM_NTASKS=2; shift; exec "$@"'
    cluster = Cluster(tmp_path, nodes=2, srun=first)
    script = ["bash", SCRIPTS / "label.sbatch", small_shards, "--labels-dir", "run/labels"]
    subprocess.run(script, env=cluster.environment, cwd=tmp_path, check=True, timeout=LONGEST_S)
    metrics = json.loads((tmp_path / "run/labelling/paper.json").read_text())["metrics"]
    assert (metrics["captions"], metrics["captions_labelled_now"]) == (24, 12)


@pytest.mark.parametrize("script", ["pretrain", "label"])
def test_cancelled_job_is_not_requeued(script: str, tmp_path: Path) -> None:
    """`scancel` sends SIGTERM to all processes of a job; `scontrol requeue` would undo it."""
    cluster = Cluster(tmp_path, nodes=1, srun="exec sleep 600")
    command = ["bash", SCRIPTS / f"{script}.sbatch", "x.tar"]
    job = subprocess.Popen(command, env=cluster.environment, cwd=tmp_path, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while not (cluster.calls.exists() and cluster.called("srun")):
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(job.pid, signal.SIGTERM)
        assert job.wait(timeout=60) not in (0, EXIT_CODE)
    finally:
        end_group(job)
    assert ["requeue", "4711"] not in cluster.called("scontrol")
