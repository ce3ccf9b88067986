"""`./run_all.sh --scale photos` from a hub to the page, with the hub's names and small images."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub import Hub

from catlip.data.shards import expand, open_shard, write_shard
from catlip.system.cache import cache_dir
from pipeline.sources import PROBES, SHARDS

REPOSITORY = Path(__file__).parent.parent
STAGES = ("data", "label", "pretrain", "transfer", "report")  # timing says nothing here
CLASSES = ("cat", "dog", "house")
PIECES = 16


@pytest.mark.slow
def test_one_command_answers_from_photographs_of_a_hub(starter, tmp_path: Path) -> None:
    shards = map(open_shard, expand(str(starter.shards)))
    samples = [
        (f"{number:06}", {"png": shard.image_bytes(i), "txt": (shard.caption(i) or "").encode()})
        for number, (shard, i) in enumerate(
            (shard, i) for shard in shards for i in range(len(shard))
        )
    ]
    labelled = [
        (key, {"png": content["png"], "cls": str(int(key) % len(CLASSES)).encode()})
        for key, content in samples
    ]
    pieces = {f"cc3m-validation-{i:04}.tar": samples[i::PIECES] for i in range(PIECES)}
    for name, content in pieces.items():
        write_shard(tmp_path / "cc3m" / name, content)
    write_shard(tmp_path / "caltech/train/0.tar", labelled[:60])
    write_shard(tmp_path / "caltech/test/0.tar", labelled[60:90])
    (tmp_path / "caltech/classnames.txt").write_text("\n".join(CLASSES))
    (tmp_path / "reports/records").mkdir(parents=True)  # none of ours
    (tmp_path / "cache").mkdir()
    for slow in ("words", "packages"):  # to make, and to fetch
        (tmp_path / "cache" / slow).symlink_to(cache_dir(slow))
    here = {"PYTHONPATH": str(REPOSITORY), "CATLIP_CACHE": str(tmp_path / "cache")}
    words = "--scale photos --seeds 1 --epochs 1 --device cpu --yes --quiet --only"
    with Hub() as hub:
        hub.put_folder("pixparse/cc3m-wds", tmp_path / "cc3m")
        hub.put_folder("clip-benchmark/wds_vtab-caltech101", tmp_path / "caltech")
        for stage in STAGES:
            done = subprocess.run(
                [sys.executable, "-m", "pipeline", *words.split(), stage],
                cwd=tmp_path,
                env=os.environ | hub.environment | here,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            if stage == "data":
                assert hub.asked["cdn"] == PIECES
    source = SHARDS["photos", False]
    fetched = (tmp_path / source.folder).glob("*.tar")
    assert sum(len(open_shard(path)) for path in fetched) == len(samples)
    rows = (tmp_path / "report/report.md").read_text().splitlines()
    for method in ("Random init", "CatLIP", "CLIP"):
        assert any(row.startswith(f"| {method} | 1 | [") for row in rows)
    assert PROBES["photos"].url in (tmp_path / "report/index.html").read_text()
