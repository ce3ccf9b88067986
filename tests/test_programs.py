"""Every program runs to its end, at its smallest, and what it records is read by the page."""

import fcntl
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from program_server import start
from smallest_programs import EVERY_RECORD, REPOSITORY, SMALLEST, documented_commands, modules

from catlip import cli
from catlip.records.claims import claims
from catlip.records.run import Config
from pipeline.options import HELP
from reports.kinds import KINDS


class Programs:
    """Runs each program once, after those that it needs, in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.outputs = folder / ".outputs"
        self.outputs.mkdir(parents=True, exist_ok=True)

    def run(self, name: str) -> CompletedProcess[str]:
        """The end of this program, which another test process may have seen before."""
        needed = EVERY_RECORD if name == "reports" else SMALLEST[name].after
        for other in needed:
            ended = self.run(other)
            assert ended.returncode == 0, f"{name} needs {other}, which failed:\n{ended.stderr}"
        ends = ("code", "output", "errors")
        code, output, errors = (self.outputs / f"{name}.{end}" for end in ends)
        with open(self.outputs / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not code.exists():
                words, ranks = SMALLEST[name].command(name, self.folder), SMALLEST[name].ranks
                printed = {"output": output, "errors": errors}
                ended = start(*words, cwd=self.folder, ranks=ranks, **printed).wait()
                code.write_text(str(ended))
        returncode = int(code.read_text())
        return CompletedProcess(name, returncode, output.read_text(), errors.read_text())


@pytest.fixture(scope="session")
def programs(shared_folder: Path) -> Programs:
    """The programs; their folder is one for all test processes."""
    return Programs(shared_folder / "programs")


def test_every_program_has_smallest_arguments_and_a_line_in_the_list(programs: Programs) -> None:
    assert {name.split()[0] for name in SMALLEST} == modules()
    printed = programs.run("catlip").stdout
    lines = dict(re.findall(r"^python -m (\S+) +(\S.*)$", printed, re.MULTILINE))
    others = {"catlip", "pipeline"}  # the list itself, and what run_all.sh calls
    assert lines.keys() == modules() - others


@pytest.mark.parametrize("name", SMALLEST)
def test_program_runs_to_its_end(name: str, programs: Programs) -> None:
    if not SMALLEST[name].is_installed:
        pytest.skip(f"{SMALLEST[name].extra} is not installed")
    ended = programs.run(name)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    if kind := SMALLEST[name].kind:
        paths = [programs.folder / path for path in re.findall(r"\S+\.json\b", ended.stdout)]
        for folder in re.findall(r"\d records in (\S+)", ended.stdout):
            paths += (programs.folder / folder).glob("*.json")
        recorded = {record["kind"] for path in paths if (record := as_record(path))}
        assert kind in recorded, f"no record of {kind} is named in the output:\n{ended.stdout}"
        assert kind in KINDS


def as_record(path: Path) -> dict[str, Any] | None:
    """The record in a file, None for another JSON and for a name that is no path from here."""
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    return content if isinstance(content, dict) and {"schema", "kind"} <= content.keys() else None


def test_page_reads_all_that_the_programs_recorded(programs: Programs) -> None:
    from reports.reading import read_records

    ended = programs.run("reports")
    assert ended.returncode == 0, ended.stderr
    assert "left out" not in ended.stdout
    assert (programs.folder / "report/index.html").stat().st_size > 10_000
    records = read_records([programs.folder / "runs"])
    assert records.problems == ()
    kinds = {record.kind for record in records.every}
    assert kinds >= {SMALLEST[name].kind for name in EVERY_RECORD}


@pytest.fixture(scope="module")
def recorded_fields() -> dict[str, set[str]]:
    """Kind -> what the configs of the records of this repository hold."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (REPOSITORY / "reports/records").rglob("*.json"):
        if record := as_record(path):
            found[record["kind"]] |= record["config"].keys()
    return found


# What a training adds, and flags of earlier versions.
NO_FLAGS = {"pretrain": {"num_classes"}, "memory": {"attention"}, "waterfall": {"compile"}}


@pytest.mark.parametrize("name", sorted({*EVERY_RECORD} - {"bench.device"}))  # which starts others
def test_what_the_page_reads_of_a_config_is_a_flag_of_its_program(
    name, recorded_fields, monkeypatch
) -> None:
    (module, *command), configs = name.split(), []

    def keep(config: type[Any], *_: Any, subcommands: Any = None) -> None:
        configs.append(subcommands[command[0]][0] if command else config)

    monkeypatch.setattr(cli, "run", keep)
    monkeypatch.setattr(sys, "argv", [module])
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    names, flags = ({field.name for field in fields(config)} for config in (Config, *configs))
    kind = SMALLEST[name].kind
    assert names & recorded_fields[kind] <= flags | NO_FLAGS.get(kind, set())


def commands() -> list[str]:
    """The commands of README, docs, run_all.sh, the page, and those that would settle a claim."""
    from reports.page import Page
    from reports.reading import read_records

    groups = Page(read_records([])).groups
    on_page = [command for group in groups for _, command in group.missing]
    lines = documented_commands()
    pipeline = [sys.executable, "-m", "pipeline", "--dry-run", "--full", "--study", "--seeds", "1"]
    lines += subprocess.check_output(pipeline, cwd=REPOSITORY, text=True).splitlines()
    ours = re.compile(r"-m (catlip|baselines|bench|reports)\b")
    return sorted({line for line in (*lines, *on_page, *settling()) if ours.search(line)})


def settling() -> list[str]:
    """The commands that settle the claims, as bash starts them: a line for each of a loop."""
    says = 'python() { printf "%q " python "$@"; echo; }; '
    says += "".join(says.replace("python", name) for name in ("torchrun", "./run_all.sh"))
    script = says + "\n".join(dict.fromkeys(claim.settle for claim in claims().values()))
    return subprocess.check_output(["bash", "-c", script], text=True).splitlines()


def test_run_all_knows_the_options_of_commands_that_settle_claims() -> None:
    ours = [line for line in settling() if line.startswith("./run_all.sh")]
    flags = {word for line in ours for word in shlex.split(line) if word.startswith("--")}
    known = set(re.findall(r"^  (--[a-z0-9-]+)", HELP, re.MULTILINE))
    assert "--scale" in flags
    assert flags <= known


def test_every_command_that_is_suggested_can_be_read(monkeypatch) -> None:
    """README, page and run_all.sh name programs and flags that are there."""
    real_run, found = cli.run, commands()
    assert len(found) > 40
    read: list[object] = []

    def only_read(config: type[Any], _: object, *defaults: Any, subcommands: Any = None) -> None:
        programs = {name: (of, read.append) for name, (of, _) in (subcommands or {}).items()}
        real_run(config, read.append, *defaults, subcommands=programs)

    monkeypatch.setattr(cli, "run", only_read)
    for line in found:
        words = shlex.split(line, comments=True)
        module, *arguments = words[len(words) - words[::-1].index("-m") :]  # the last one's
        read.clear()
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            pytest.fail(f"{line}\nends with exit code {end.code}")
        assert len(read) == 1, line
