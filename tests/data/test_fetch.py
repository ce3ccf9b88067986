"""Shards are fetched whole, once, with small images and their sources' captions."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hub import Hub
from one_line import one_line_error
from pictures import crops_of_photographs, photograph, plain, save
from PIL import Image
from remote_servers import FaultyServer

from catlip.cli import InputError
from catlip.data.decode import PictureError, open_picture, rgb, shrink_picture
from catlip.data.fetch import Fetch, main
from catlip.data.shards import open_shard, write_shard

SET = "pixparse/cc3m-wds"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def fetched(hub: Hub, program) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the program with this hub."""
    return lambda *words: program("catlip.data.fetch", *words, **hub.environment)


def write_photographs(folder: Path, shards: int = 3, each: int = 4) -> list[Path]:
    """Shards named as CC3M's, of JPEGs of 130 pixels and more, a small PNG, and captions."""
    pictures = iter(crops_of_photographs(shards * each))
    paths = [folder / f"cc3m-validation-{number:04}.tar" for number in range(shards)]
    for number, path in enumerate(paths):
        samples = [
            (f"{number}{i:03}", {"jpg": next(pictures), "txt": f"a dog on {i} couches".encode()})
            for i in range(each)
        ]
        captions = b'{"caption": ["a cat", "a car"]}'
        write_shard(path, [*samples, (f"{number}999", {"png": plain(), "json": captions})])
    return paths


def samples_of(path: Path) -> list[tuple[str, list[str | None], bytes]]:
    shard = open_shard(path)
    return [(key, shard.captions(i), shard.image_bytes(i)) for i, key in enumerate(shard.keys)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def test_shards_of_a_hub_keep_captions_and_are_fetched_once(hub, fetched, tmp_path) -> None:
    paths, out = write_photographs(tmp_path / "source"), tmp_path / "out"
    hub.put_folder(SET, tmp_path / "source")
    named = (f"hf://datasets/{SET}/cc3m-validation-*.tar", "--out", out)
    options = ("--side", 96, "--yes", "--quiet")
    done = fetched(*named, *options)
    assert hub.asked["cdn"] == len(paths)
    assert f"hf://datasets/{SET}, licence: cc-by-4.0 ({hub.endpoint}/datasets/{SET})" in done.stdout
    assert "15 images in 3 shards" in done.stdout
    for path in paths:
        before, after = samples_of(path), samples_of(out / path.name)
        assert [sample[:2] for sample in after] == [sample[:2] for sample in before]
        assert [min(open_picture(image).size) for *_, image in after] == [96] * 4 + [20]
        assert after[-1] == before[-1]
    fetched(*named, *options)
    assert hub.asked["cdn"] == len(paths)
    before, hub.damaged = contents(out), True
    done = fetched(*named, "--side", 64, "--yes", "--quiet")
    one_line_error(done, "cc3m-validation-0000.tar", "sha256")
    assert (hub.asked["cdn"], contents(out)) == (2 * len(paths), before)


def test_shards_of_a_bucket_are_fetched_and_a_change_is_noticed(hub, fetched, tmp_path) -> None:
    paths, out = write_photographs(tmp_path / "source"), tmp_path / "out"
    hub.put_folder("buckets/some/photos", tmp_path, "in/")
    for pattern in ("source", "source/cc3m-validation-{0000..0002}.tar"):
        source = f"hf://buckets/some/photos/in/{pattern}"
        fetched(source, "--out", out, "--side", 96, "--yes", "--quiet").check_returncode()
        assert hub.asked["cdn"] == len(paths)
    assert [samples_of(out / path.name)[-1] for path in paths] == [samples_of(p)[-1] for p in paths]
    name = "in/source/cc3m-validation-0000.tar"
    ask = "from catlip.data.remote import *; p = Path(input()); print(identity_of(p), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{ask}; input(); print(identity_of(p))"],
        env=os.environ | hub.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as asking:
        assert asking.stdin
        assert asking.stdout
        print(f"hf://buckets/some/photos/{name}", file=asking.stdin, flush=True)
        before = asking.stdout.readline()
        hub.put("buckets/some/photos", name, paths[1].read_bytes())
        after, _ = asking.communicate("\n")
    assert before.split()[1] != after.split()[1]


def test_what_a_hub_does_not_give_is_one_line(hub, fetched, tmp_path) -> None:
    hub.sizes[SET] = {f"cc3m-train-{i:04}.tar": 461_000_000 + i for i in range(576)}
    hub.put("some/gated", "0.tar", b"content")
    hub.gated.add("some/gated")
    page = f"{hub.endpoint}/datasets/some/gated"
    for path, words in {
        f"{SET}/cc3m-train-{{0000..0575}}.tar": ["nothing was fetched", "--yes"],
        f"{SET}/cc3m-train-0576.tar": ["cc3m-train-0576.tar is not there"],
        "some/gated/0.tar": ["hf://datasets/some/gated", page, "HF_TOKEN"],
        "some/absent/*.tar": ["hf://datasets/some/absent", "HF_TOKEN"],
        "buckets/some/absent/*.tar": [f"{hub.endpoint}/buckets/some/absent", "HF_TOKEN"],
    }.items():
        url = f"hf://{path}" if path.startswith("buckets/") else f"hf://datasets/{path}"
        done = fetched(url, "--out", tmp_path)
        one_line_error(done, *words)
        if "--yes" in words:
            assert "576 of 576 files to fetch, 266 GB" in done.stdout
    assert hub.asked["resolve"] == 0


def test_fetch_killed_at_any_moment_goes_on(tmp_path: Path) -> None:
    write_photographs(tmp_path / "source", each=1)
    config = Fetch((str(tmp_path / "source"),), tmp_path / "out", side=96, workers=1, quiet=True)
    whole = Fetch(config.sources, tmp_path / "whole", side=96, workers=1, quiet=True)
    main(whole)

    def killed_before(moment: int) -> None:
        """Before the `moment`-th file gets its name."""
        replace, calls = os.replace, iter(range(moment))

        def counted(*names: Path) -> None:
            if next(calls, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*names)

        os.replace = counted  # type: ignore[assignment]  # in the child only
        main(config)

    for moment in range(10):
        child = multiprocessing.get_context("fork").Process(target=killed_before, args=(moment,))
        child.start()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL)
        if moment < 2:
            assert child.exitcode
        assert contents(config.out).items() <= contents(whole.out).items()
    main(config)
    assert contents(config.out) == contents(whole.out)


ODD_KEYS = ("a" * 150, "фото/собака", "b" * 300)
SCATTERED = [(f"{n}", {"png": plain((n, 0, 0))}) for n in range(5)]  # as `*.png *.txt` give them
SCATTERED += [(f"{n}", {"txt": f"caption {n}".encode()}) for n in range(5)]


@pytest.mark.parametrize(
    "samples", [*([(key, {"png": plain(), "txt": b"a dog"})] for key in ODD_KEYS), SCATTERED]
)
def test_odd_tars_keep_their_samples(samples, tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", samples)
    main(Fetch((str(tmp_path / "0.tar"),), tmp_path / "out", quiet=True))
    found = samples_of(tmp_path / "out" / "0.tar")
    assert found == samples_of(tmp_path / "0.tar")
    texts = [members["txt"].decode() for _, members in samples if "txt" in members]
    assert [captions for _, captions, _ in found] == [[text] for text in texts]


def test_files_of_others_stay_as_they_are(tmp_path: Path) -> None:
    (path, *_) = write_photographs(tmp_path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="not fetched from these sources; choose another --out"):
        main(Fetch((str(tmp_path),), tmp_path, quiet=True))
    assert path.read_bytes() == before
    write_shard(tmp_path / "out" / "table-00000.tar", [("a", {"txt": b"the user's"})])
    pd.DataFrame({"image": [plain()], "text": ["a dog"]}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(InputError, match=r"table-00000\.tar was not fetched"):
        main(Fetch((str(tmp_path / "table.parquet"),), tmp_path / "out", quiet=True))
    with pytest.raises(InputError, match="two sources are called cc3m-validation-0000"):
        main(Fetch((str(path), str(path)), tmp_path / "out", quiet=True))
    fetched = Fetch((str(path),), tmp_path / "fetched", quiet=True)
    main(fetched)
    before = contents(fetched.out)
    (other, *_) = write_photographs(tmp_path / "other", 1, 2)
    for dry_run in (True, False):
        with pytest.raises(InputError, match=f"has shards of {path}; choose another --out"):
            main(replace(fetched, sources=(str(other),), dry_run=dry_run))
    assert contents(fetched.out) == before
    write_shard(tmp_path / "broken.tar", [("a", {"jpg": b"broken", "txt": b"a dog"})])
    with pytest.raises(InputError, match=r"broken\.tar holds no image"):
        main(Fetch((str(tmp_path / "broken.tar"),), tmp_path / "new", quiet=True))


@pytest.mark.parametrize("name", ["../private.tar", "{private}", "a\0b", "a/" * 5000])
def test_note_of_a_received_folder_leads_to_no_other_file(name: str, tmp_path: Path) -> None:
    private, out = tmp_path / "private.tar", tmp_path / "out"
    (path,) = write_photographs(tmp_path / "source", 1)
    private.write_bytes(b"kept")
    (out / ".fetch").mkdir(parents=True)
    note = {"shards": {name.replace("{private}", str(private)): 4}}
    (out / ".fetch" / f"{path.stem}.json").write_text(json.dumps(note))
    main(Fetch((str(path),), out, quiet=True))
    assert [*contents(out)] == [path.name]
    assert private.read_bytes() == b"kept"


@pytest.mark.parametrize("link", [".fetch", ".fetch/part-0.tar", ".fetch/0.json", "0.tar"])
def test_link_in_a_received_folder_leads_to_no_other_file(link: str, tmp_path: Path) -> None:
    (path, *_) = write_photographs(tmp_path / "source", 1)
    (private := tmp_path / "private" / "part-0.tar").parent.mkdir()
    private.write_bytes(b"kept")
    (place := tmp_path / "out" / link).parent.mkdir(parents=True)
    place.symlink_to(private.parent if link == ".fetch" else private)
    with FaultyServer() as server, suppress(InputError):
        server.put("/0.tar", path.read_bytes())
        main(Fetch((f"http://{server.place}/0.tar",), tmp_path / "out", yes=True, quiet=True))
    assert [(file.name, file.read_bytes()) for file in private.parent.iterdir()] == [
        ("part-0.tar", b"kept")
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"shards": [1]}', '{"broken": 3}', "[" * 10**5, 0])
def test_damaged_note_is_made_again(content: str | int, tmp_path: Path) -> None:
    (path, *_) = write_photographs(tmp_path / "source", 1)
    config = Fetch((str(path),), tmp_path / "out", quiet=True)
    main(config)
    note = config.out / ".fetch" / f"{path.stem}.json"
    whole = note.read_text()
    note.unlink()
    note.write_text(content) if isinstance(content, str) else os.mkfifo(note)
    main(config)
    assert note.read_text() == whole


def test_shard_that_is_cut_short_is_fetched_again_and_others_are_not(tmp_path: Path) -> None:
    paths = write_photographs(tmp_path / "source")
    config = Fetch((str(tmp_path / "source"),), tmp_path / "out", side=96, quiet=True)
    main(config)
    before = contents(config.out)
    (config.out / paths[1].name).write_bytes(before[paths[1].name][:-1])
    kept = (config.out / paths[0].name).stat().st_ino
    main(config)
    assert contents(config.out) == before
    assert (config.out / paths[0].name).stat().st_ino == kept


@pytest.mark.parametrize("kind", ["JPEG", "grey", "CMYK", "progressive", "PNG", "WEBP", "GIF"])
def test_reduced_pictures(kind: str) -> None:
    picture = photograph(1).crop((0, 0, 190, 150))
    options = {"quality": 95, "progressive": kind == "progressive"}
    if mode := {"grey": "L", "CMYK": "CMYK"}.get(kind):
        picture = picture.convert(mode)
    encoded = save(picture, kind if kind in ("PNG", "WEBP", "GIF") else "JPEG", **options)
    for side in (60, 75, 149):
        small = rgb(open_picture(shrink_picture(encoded, side, 90)))
        assert small.size == (round(190 * side / 150), side)
        direct = rgb(open_picture(encoded)).resize(small.size, Image.Resampling.BOX)
        assert np.abs(np.asarray(small, float) - np.asarray(direct, float)).mean() < 8
    assert shrink_picture(encoded, 150, 90) is encoded
    for broken in (encoded[: len(encoded) // 2], b"", b"text"):
        with pytest.raises(PictureError):
            shrink_picture(broken, 20, 90)
        with pytest.raises(PictureError):
            shrink_picture(broken, 200, 90)
