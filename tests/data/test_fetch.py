import io
import os
import shutil
import tarfile
import zipfile

import pytest

from isthmus.core.errors import BadInput, NotFound
from isthmus.data import archives, fetch
from isthmus.data.fetch import Part, Source
from isthmus.store.disk import locked

BIRDS = Source(client="apt", megabytes=1, parts=(Part(package="birds", root="usr/share/birds", keep=("a/*", "*.txt")),))
FISH = Source(
    client="npm",
    megabytes=1,
    parts=(Part(package="fish", root="img", version="2.0"), Part(package="shell", keep=("data/*.json",))),
)
BIRD_FILES = {"usr/share/birds/a/one.png": b"1", "usr/share/birds/two.txt": b"22", "usr/share/doc/birds": b"no"}


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


WANTED = {"a/one.png": b"1", "two.txt": b"22"}


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
    name = b'{"name": "%s"}'
    packed = tmp_path / "packed"
    packed.mkdir()
    tar(
        {"package/package.json": name % b"fish", "package/img/a.png": b"a", "package/sheet.png": b"s"}, packed / "f.tgz"
    )
    tar({"package/package.json": name % b"shell", "package/data/x.json": b"{}"}, packed / "s.tgz")
    place = fetch.fetch("fish", source=packed)
    kept = sorted(p.relative_to(place).as_posix() for p in place.rglob("*.*"))
    assert kept == ["fetched.json", "fish/a.png", "shell/data/x.json"]
    modules = tree(
        {"node_modules/fish/img/b.png": b"b", "node_modules/shell/data/y.json": b"{}"}, tmp_path / "installed"
    )
    assert (fetch.fetch("fish", source=modules) / "fish" / "b.png").exists()
    assert not (place / "fish" / "a.png").exists(), "the set is replaced, not mixed"
    with pytest.raises(BadInput, match="holds no shell"):
        fetch.fetch("fish", source=packed / "f.tgz")
    assert (fetch.find("fish") / "fish" / "b.png").exists(), "what was here stays when another cannot be had"


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


def test_a_folder_without_the_mark_or_with_an_older_one(tmp_path):
    tree({"birds/a/one.png": b""}, fetch.folder("birds"))
    with pytest.raises(NotFound, match="not been fetched"):
        fetch.find("birds")
    tree({"fetched.json": b'{"format_version": 1, "packages": {"eggs": {}}}'}, fetch.folder("birds"))
    with pytest.raises(NotFound, match="fetched without birds: isthmus data fetch birds --again"):
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


def test_the_client_downloads(tmp_path, clients):
    archive = deb(BIRD_FILES, tmp_path / "birds_1.0_all.deb")
    client(clients, "apt-get", f'echo "$@" >> {tmp_path}/said; cp {archive} .')
    stages = []
    place = fetch.fetch("birds", progress=lambda *step: stages.append(step))
    assert birds_of(place) == WANTED
    assert (tmp_path / "said").read_text().split()[-2:] == ["download", "birds"]
    assert stages[0] == ("download birds", 0, 1)
    assert stages[-1] == ("keep birds", 2, 2)
    assert fetch.fetch("birds") == place
    assert len((tmp_path / "said").read_text().splitlines()) == 1, "what is here is not downloaded again"
    fetch.fetch("birds", again=True)
    assert len((tmp_path / "said").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "program", "said", "reason"),
    [
        ("birds", "apt-get", "E: Failed to fetch: Temporary failure resolving 'deb.debian.org'", "no connection: apt"),
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
    with pytest.raises(BadInput, match="comes with the packages birds and apt is not here"):
        fetch.fetch("birds")


def test_unknown_names_and_sources(tmp_path):
    with pytest.raises(NotFound, match="did you mean 'birds'"):
        fetch.fetch("bird")
    with pytest.raises(NotFound, match="no such file or folder"):
        fetch.fetch("birds", source=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no birds; wanted are its package, or a folder with usr/share/birds"):
        fetch.fetch("birds", source=tmp_path / "empty")


def test_every_data_set_says_where_it_comes_from(monkeypatch):
    monkeypatch.undo()
    for name, source in fetch.sources().items():
        assert source.client in fetch.CLIENTS
        assert all(part.keep for part in source.parts)
        assert source.megabytes > 0, name
