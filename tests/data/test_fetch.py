import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from isthmus import data
from isthmus.core.errors import BadInput, NotFound
from isthmus.data import archives, fetch
from isthmus.data.fetch import Part, Source
from isthmus.store.disk import locked

BIRD_FILES = {"usr/share/birds/a/one.png": b"1", "usr/share/birds/two.txt": b"22", "usr/share/doc/birds": b"no"}
WANTED = {"a/one.png": b"1", "two.txt": b"22"}


def digest(files):
    """The digest of a package's files, as it stands in `Part.sha256`."""
    lines = (f"{name}\0{hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


BIRD = Part(package="birds", version="1.0", sha256=digest(WANTED), root="usr/share/birds", keep=("a/*", "*.txt"))
BIRDS = Source(client="apt", megabytes=1, parts=(BIRD,))
FISH = Source(
    client="npm",
    megabytes=1,
    parts=(
        Part(package="fish", version="2.0", sha256=digest({"a.png": b"a"}), root="img"),
        Part(package="shell", version="3.0", sha256=digest({"data/x.json": b"{}"}), keep=("data/*.json",)),
    ),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "sources", lambda: {"birds": BIRDS, "fish": FISH})
    return tmp_path / "cache"


def tar(files, path, mode="w:gz"):
    with tarfile.open(path, mode) as opened:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    return path


def deb(files, path, data="data.tar.xz"):
    inner = tar(files, path.with_suffix(".inner"), "w:xz").read_bytes()
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in (("debian-binary", b"2.0"), (data, inner)):
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    path.with_suffix(".inner").unlink()
    return path


def tree(files, folder):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def birds_of(place):
    return {p.relative_to(place / "birds").as_posix(): p.read_bytes() for p in (place / "birds").rglob("*.*")}


def test_from_an_archive_of_any_kind(tmp_path):
    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as opened:
        for name, content in BIRD_FILES.items():
            opened.writestr(name, content)
    for archive in (
        deb(BIRD_FILES, tmp_path / "birds_1.0_all.deb"),
        tar(BIRD_FILES, tmp_path / "birds.tgz"),
        tar(BIRD_FILES, tmp_path / "birds.tar", "w:"),
        tar({name.removeprefix("usr/share/"): content for name, content in BIRD_FILES.items()}, tmp_path / "b.tar.gz"),
        tmp_path / "birds.zip",
    ):
        place = fetch.fetch("birds", source=archive)
        assert place == fetch.find("birds")
        assert birds_of(place) == WANTED
        assert not [p for p in place.parent.glob(".birds/*") if p.name != "writer.lock"], "nothing is left behind"


@pytest.mark.parametrize("cut", ["", "usr", "usr/share", "usr/share/birds"])
def test_from_a_folder_cut_off_anywhere(tmp_path, cut):
    source = tree(BIRD_FILES, tmp_path / "tree")
    assert birds_of(fetch.fetch("birds", source=source / cut)) == WANTED
    assert birds_of(source / "usr/share") == WANTED, "the user's files stay"


def test_several_npm_packages(tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    tar({"package/img/a.png": b"a", "package/sheet.png": b"s"}, packed / "f.tgz")
    tar({"package/data/x.json": b"{}"}, packed / "s.tgz")
    place = fetch.fetch("fish", source=packed)
    kept = sorted(p.relative_to(place).as_posix() for p in place.rglob("*.*"))
    assert kept == ["fetched.json", "fish/a.png", "shell/data/x.json"]
    with pytest.raises(BadInput, match="holds no shell"):
        fetch.fetch("fish", source=packed / "f.tgz")
    assert fetch.find("fish") == place, "what was here stays when another cannot be had"
    modules = {"node_modules/fish/img/a.png": b"a", "node_modules/shell/data/x.json": b"{}"}
    fetch.fetch("fish", source=tree(modules, tmp_path / "installed"))
    assert fetch.record(place)["packages"]["fish"] == {
        "from": str(tmp_path / "installed"),
        "version": "2.0",
        "files": 1,
        "bytes": 1,
    }


def test_other_files_than_those_of_the_card(tmp_path):
    source = tree(BIRD_FILES | {"usr/share/birds/a/new.png": b"3"}, tmp_path / "tree")
    with pytest.raises(BadInput, match=r"the 3 files of birds are not those of version 1\.0 \(digest .*--any-version"):
        fetch.fetch("birds", source=source)
    assert not fetch.folder("birds").exists()
    place = fetch.fetch("birds", source=source, any_version=True)
    assert birds_of(place) == WANTED | {"a/new.png": b"3"}
    assert fetch.record(fetch.find("birds"))["packages"]["birds"]["version"] == "another"


def test_a_half_fetched_set_is_never_used(tmp_path):
    def stop(stage, done, total):
        if stage.startswith("keep"):
            raise KeyboardInterrupt

    source = tree(BIRD_FILES, tmp_path / "tree")
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("birds", source=source, progress=stop)
    with pytest.raises(NotFound, match="has not been fetched yet: isthmus data fetch birds"):
        fetch.find("birds")
    tree({"set/birds/a/half.png": b"", "unpacked/0/x": b""}, fetch.folder("birds").with_name(".birds"))  # killed
    assert birds_of(fetch.fetch("birds", source=source)) == WANTED


def test_a_folder_without_the_mark_or_of_another_version(tmp_path, monkeypatch):
    tree({"birds/a/one.png": b""}, fetch.folder("birds"))
    with pytest.raises(NotFound, match="not been fetched"):
        fetch.find("birds")
    place = fetch.fetch("birds", source=tree(BIRD_FILES, tmp_path / "tree"))
    mark = json.loads((place / "fetched.json").read_text())
    (place / "fetched.json").write_text(json.dumps(mark | {"wanted": {"birds": "0" * 64}}))
    with pytest.raises(NotFound, match=r"another version of Isthmus.*: isthmus data fetch birds --again"):
        fetch.find("birds")


def test_one_fetch_at_a_time(tmp_path):
    work = fetch.folder("birds").with_name(".birds")
    work.mkdir(parents=True)
    source = tree(BIRD_FILES, tmp_path / "tree")
    with locked(work, kind="fetching birds"), pytest.raises(BadInput, match="fetching birds has one writer at a time"):
        fetch.fetch("birds", source=source)
    assert birds_of(fetch.fetch("birds", source=source)) == WANTED


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:\\out.txt", "..\\out.txt"])
def test_no_file_leaves_the_folder(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as opened:
        opened.writestr(zipfile.ZipInfo(name), b"x")
    for archive in (tar({name: b"x"}, tmp_path / "evil.tgz"), tmp_path / "evil.zip"):
        with pytest.raises(BadInput, match="would be written outside"):
            archives.unpack(archive, tmp_path / "in" / "here")
    assert not list(tmp_path.rglob("out.txt"))


def test_links_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "links.tar", "w") as opened:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            opened.addfile(entry)
    assert archives.unpack(tmp_path / "links.tar", tmp_path / "in") == 0


def test_archives_that_cannot_be_read(tmp_path, monkeypatch):
    whole = tar(BIRD_FILES, tmp_path / "whole.tgz").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.zip").write_bytes(b"no")
    (tmp_path / "no.deb").write_bytes(b"no")
    (tmp_path / "no.rar").write_bytes(b"no")
    (tmp_path / "cut.deb").write_bytes(deb(BIRD_FILES, tmp_path / "whole.deb").read_bytes()[:66])
    reasons = {"cut.tgz": "cannot be unpacked", "no.zip": "cannot be unpacked", "no.deb": "not a Debian package"}
    reasons |= {"no.rar": "known are .deb", "cut.deb": "cut off"}
    for name, reason in reasons.items():
        with pytest.raises(BadInput, match=reason):
            fetch.fetch("birds", source=tmp_path / name)
    monkeypatch.setattr(archives, "MAX_BYTES", 2)
    with pytest.raises(BadInput, match="unpacks to more than"):
        archives.unpack(tmp_path / "whole.tgz", tmp_path / "in")


def test_a_package_that_python_cannot_decompress(tmp_path, monkeypatch):
    archive = deb(BIRD_FILES, tmp_path / "birds.deb", data="data.tar.zst")
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(BadInput, match=r"packed as data\.tar\.zst, which needs dpkg-deb"):
        fetch.fetch("birds", source=archive)


def client(folder, name, script):
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """A folder for make-believe package clients, the only ones on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin")
    monkeypatch.setattr(shutil, "which", lambda program: str(folder / program) if (folder / program).exists() else None)
    return folder


def calls(tmp_path):
    return (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []


def test_the_client_downloads(tmp_path, clients):
    archive = deb(BIRD_FILES, tmp_path / "birds_1.0_all.deb")
    client(clients, "apt-get", f'echo "$@" >> {tmp_path}/calls; cp {archive} .')
    stages = []
    place = fetch.fetch("birds", progress=lambda *step: stages.append(step))
    assert birds_of(place) == WANTED
    assert calls(tmp_path)[0].split()[-2:] == ["download", "birds"]
    assert stages[0] == ("download, MB", 0, 1)
    assert stages[-1] == ("keep birds", 2, 2)
    assert fetch.fetch("birds") == place
    assert len(calls(tmp_path)) == 1, "what is here is not downloaded again"
    fetch.fetch("birds", again=True)
    assert len(calls(tmp_path)) == 2
    assert [p.name for p in place.with_name(".birds").iterdir()] == ["writer.lock"], "nothing is left behind"


def test_a_download_goes_on_where_it_was_stopped(tmp_path, clients):
    fish = tar({"package/img/a.png": b"a"}, tmp_path / "fish-2.0.tgz")
    shell = tar({"package/data/x.json": b"{}"}, tmp_path / "shell-3.0.tgz")
    half = f'case "$*" in *fish*) cp {fish} .;; *) head -c 20 {shell} > shell-3.0.tgz; echo ENOTFOUND; exit 1;; esac'
    client(clients, "npm", f'echo "$@" >> {tmp_path}/calls; {half}')
    with pytest.raises(BadInput, match=r"no connection: npm could not download shell@3\.0"):
        fetch.fetch("fish")
    client(clients, "npm", f'echo "$@" >> {tmp_path}/calls; cp {shell} .')
    assert (fetch.fetch("fish") / "shell" / "data" / "x.json").exists()
    assert [line.split()[-1] for line in calls(tmp_path)] == ["fish@2.0", "shell@3.0", "shell@3.0"]


def test_a_killed_fetch(tmp_path, clients):
    """Kill -9 while the client runs: nothing is there, and the next fetch is whole."""
    client(clients, "apt-get", f"echo x >> {tmp_path}/calls; head -c 30 /dev/zero > birds.deb; exec sleep 60")
    code = f"""
from isthmus.data import fetch
from tests.data.test_fetch import BIRDS
fetch.sources = lambda: {{"birds": BIRDS}}
fetch.shutil.which = lambda program: "{clients}/apt-get"
fetch.fetch("birds")
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, start_new_session=True) as process:
        while not calls(tmp_path):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    with pytest.raises(NotFound, match="not been fetched"):
        fetch.find("birds")
    client(clients, "apt-get", f"cp {deb(BIRD_FILES, tmp_path / 'birds.deb')} .")
    assert birds_of(fetch.fetch("birds")) == WANTED


def test_a_damaged_download_is_not_used_twice(tmp_path, clients):
    client(clients, "apt-get", f"echo x >> {tmp_path}/calls; echo no > birds.deb")
    for _ in range(2):
        with pytest.raises(BadInput, match="not a Debian package"):
            fetch.fetch("birds")
    assert len(calls(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "program", "said", "reason"),
    [
        ("birds", "apt-get", "E: Failed to fetch: Temporary failure resolving 'mirror'", "no connection: apt"),
        (
            "birds",
            "apt-get",
            "E: Unable to locate package birds",
            "does not know the package birds; run apt-get update",
        ),
        ("birds", "apt-get", "W: pipe\nE: Disk is full", r"could not download birds \(E: Disk is full\)"),
        (
            "fish",
            "npm",
            "npm error code ENOTFOUND\nnpm error network",
            "no connection: npm could not download fish@2.0",
        ),
        ("fish", "npm", "npm error code E404", "npm does not know the package fish@2.0;"),
    ],
)
def test_the_client_fails(clients, name, program, said, reason):
    client(clients, program, f'echo "{said}" >&2; exit 100')
    with pytest.raises(BadInput, match=reason) as caught:
        fetch.fetch(name)
    assert "\n" not in str(caught.value)
    assert f"isthmus data fetch {name} --from FILE_OR_FOLDER" in str(caught.value)
    assert not fetch.folder(name).exists()


def test_no_client(clients):
    with pytest.raises(BadInput, match="comes with birds by apt, which is not here"):
        fetch.fetch("birds")


def test_unknown_names_and_sources(tmp_path):
    with pytest.raises(NotFound, match="did you mean 'birds'"):
        fetch.fetch("bird")
    with pytest.raises(NotFound, match="no such file or folder"):
        fetch.fetch("birds", source=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no birds; wanted is its package, or a folder with usr/share/birds"):
        fetch.fetch("birds", source=tmp_path / "empty")


def test_every_data_set_says_where_it_comes_from(monkeypatch):
    monkeypatch.undo()
    for name, source in fetch.sources().items():
        assert name in data.names()
        assert source.client in fetch.CLIENTS
        assert source.megabytes > 0
        assert all(part.keep and part.version and len(part.sha256) == 64 for part in source.parts)


def test_the_command(tmp_path, capsys):
    from isthmus.cli import main

    source = tree(BIRD_FILES, tmp_path / "tree")

    def run(*words):
        with pytest.raises(SystemExit) as stopped:
            main(["data", "fetch", *words])
        return stopped.value.code, capsys.readouterr()

    code, said = run("birds", "--from", str(source), "--json")
    assert code == 0
    assert json.loads(said.out)["birds"]["packages"]["birds"]["files"] == 2
    code, said = run("birds")
    assert code == 0
    assert "birds: 2 files, 0 MB in" in " ".join(said.err.split())
    for words, reason in (
        (("bird",), "did you mean 'birds'"),
        (("birds", "fish", "--from", str(source)), "--from .* is for one data set, got 2 names"),
        ((), "name the data sets to fetch, or all; known are birds, fish"),
    ):
        code, said = run(*words)
        assert code == 2
        assert re.search(f"isthmus: .*{reason}", said.err)
