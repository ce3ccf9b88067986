"""A training on remote shards is that on a disk, stopped or not, and writes no credential."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from one_line import one_line_error
from remote_servers import BUCKET, SECRET_KEY, FaultyServer, S3Server, secrets_in
from short_training import outcome, wait_for_lines

from catlip.data.shards import expand, open_shard, write_shard
from catlip.system.cache import cache_dir
from catlip.training.preempt import EXIT_CODE

LONGEST_S = 200
NUM_SHARDS = 18  # more than a window of the sampler
SET = f"set/{{0000..{NUM_SHARDS - 1:04d}}}.tar"
SHORT = ("--iterations", 12, "--epochs", 0, "--micro-batch", 16, "--warmup-iterations", 3)
QUIET = ("--log-every", 1, "--checkpoint-every", 2, "--quiet")


@dataclass(frozen=True)
class Local:
    """A folder of shards on a disk, their labels, and the outcome of a training on them."""

    shards: Path
    labels: Path
    vocabulary: Path
    outcome: tuple[list[float], str]


def training(shards: object, labels: object, vocabulary: object, *, out: Path) -> list[str]:
    named = ("--shards", shards, "--labels-dir", labels, "--vocabulary", vocabulary, "--out", out)
    return [str(word) for word in (*named, *SHORT, *QUIET)]


@pytest.fixture(scope="module")
def local(succeed, starter, tmp_path_factory: pytest.TempPathFactory) -> Local:
    root = tmp_path_factory.mktemp("local")
    samples = []
    for shard in map(open_shard, expand(str(starter.shards))):
        for number, key in enumerate(shard.keys):
            caption = (shard.caption(number) or "").encode()
            samples.append((key, {"png": shard.image_bytes(number), "txt": caption}))
    for number in range(NUM_SHARDS):
        write_shard(root / "set" / f"{number:04d}.tar", samples[number::NUM_SHARDS][:12])
    made = (root / "set", root / "labels", root / "vocabulary.json")
    shards, labels, vocabulary = made
    succeed("catlip.label", shards, "--labels-dir", labels, "--quiet")
    succeed("catlip.vocabulary", labels, "--threshold", 1, "--out", vocabulary, "--quiet")
    succeed("catlip.pretrain", *training(*made, out=root / "run"))
    return Local(*made, outcome=outcome(root / "run"))


@pytest.fixture
def environment(s3: S3Server, local: Local, tmp_path: Path) -> dict[str, str]:
    """A program that has the data in its storage, and a cache for a third of the shards."""
    s3.put_folder(local.shards, "set")
    s3.put_folder(local.labels, "labels")
    s3.put("vocabulary.json", local.vocabulary.read_bytes())
    size = sum(path.stat().st_size for path in local.shards.iterdir())
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "words").symlink_to(cache_dir("words"))  # which take long to make
    cache = {"CATLIP_CACHE": str(tmp_path / "cache"), "CATLIP_SHARD_CACHE_GB": str(size / 3 / 1e9)}
    return s3.environment | cache


def test_dead_server_and_a_stop_change_no_outcome(start, succeed, local, s3, environment, tmp_path):
    out = tmp_path / "run"
    storage = [f"s3://{BUCKET}/{name}" for name in (SET, "labels", "vocabulary.json")]
    command = training(*storage, out=out)
    run = start("catlip.pretrain", *command, **environment)
    wait_for_lines(out / "log.jsonl", 2, run, longest_s=LONGEST_S)
    s3.stop()
    time.sleep(1)
    waiting = run.poll() is None
    s3.start()
    before = (out / "log.jsonl").read_text().count("\n")
    wait_for_lines(out / "log.jsonl", before + 1, run, longest_s=LONGEST_S)
    run.send_signal(signal.SIGTERM)
    code = run.wait()
    assert waiting, (tmp_path / "errors").read_text()
    assert code == EXIT_CODE
    succeed("catlip.pretrain", *command, **environment)
    assert outcome(out) == local.outcome


def test_remote_run_writes_no_credential(program, succeed, local, environment, tmp_path) -> None:
    secrets = ("hidden-word", "hidden-signature", SECRET_KEY)
    with FaultyServer() as server:
        server.put_folder(local.shards, "set")
        server.put_folder(local.labels, "labels")
        server.put("/vocabulary.json", local.vocabulary.read_bytes())
        query, out = "?X-Amz-Signature=hidden-signature", tmp_path / "run"
        storage = [
            f"http://ann:hidden-word@{server.place}/{name}{query}"
            for name in (SET, "labels", "vocabulary.json")
        ]
        done = succeed("catlip.pretrain", *training(*storage, out=out), **environment)
        assert outcome(out) == local.outcome
        (warning,) = [line for line in done.stderr.splitlines() if "warning: " in line]
        assert f"python -m catlip.data.fetch 'http://{server.place}/{SET}' --out" in warning
        assert server.queries == {query.removeprefix("?")}
        assert None not in server.authorizations
        del server.files["/set/0007.tar"]
        environment["CATLIP_CACHE"] = str(tmp_path / "other-cache")
        wrong = training(*storage, out=tmp_path / "wrong")
        failed = program("catlip.pretrain", *wrong, **environment)
        one_line_error(failed, "/set/0007.tar is not there")
    printed = done.stdout + done.stderr + failed.stdout + failed.stderr
    assert not [secret for secret in secrets if secret in printed]
    assert secrets_in(tmp_path, secrets) == []
    assert server.place in (tmp_path / "run.json").read_text()
