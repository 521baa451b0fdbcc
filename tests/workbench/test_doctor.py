"""What is said of packages that are there, too old, or missing, and of programs of the system."""

import pytest

from isthmus.workbench import doctor

NEEDS = [
    "numpy>=2",
    "absent-core>=1",
    "isthmus[torch]; extra == 'image'",
    "torch>=2.6; extra == 'torch'",
    "usearch>=2.26; extra == 'index'",
    "timm>=1.0.20; extra == 'backbones'",
    "usearch>=2.26; extra == 'all'",
    "numpy>=2; extra == 'all'",
    "soundfile<1,>=0.13; extra == 'audio'",
]
THERE = {"numpy": "2.4.6", "torch": "2.13.0+cpu", "usearch": "2.9.1", "soundfile": "0.13.1rc2"}


@pytest.fixture
def found(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda package: NEEDS)
    monkeypatch.setattr(doctor, "_version", THERE.get)
    monkeypatch.setattr(doctor.shutil, "which", lambda program: None)
    return {f["package"]: f for f in doctor.examine()}


def test_each_package_with_its_state(found):
    states = {name: (f["version"], f["extras"], f["broken"], f["advice"]) for name, f in found.items()}
    assert states["numpy"] == ("2.4.6", ["core", "all"], False, None)
    assert states["absent-core"] == (None, ["core"], True, "pip install --force-reinstall isthmus")
    assert states["torch"] == ("2.13.0+cpu", ["torch"], False, None)
    assert states["timm"] == (None, ["backbones"], False, "pip install 'isthmus[backbones]'")
    assert states["usearch"] == ("2.9.1", ["index", "all"], True, "older than 2.26: pip install --upgrade usearch")
    assert states["soundfile"] == ("0.13.1rc2", ["audio"], False, None)
    assert "isthmus" not in states and next(iter(states)) in ("absent-core", "numpy"), "core first"


def test_programs_of_the_system(found, monkeypatch):
    missing = found["espeak-ng"]
    assert (missing["version"], missing["extras"], missing["broken"]) == (None, ["system"], False)
    assert "apt-get install espeak-ng" in missing["advice"]
    monkeypatch.setattr(doctor.shutil, "which", lambda program: f"/usr/bin/{program}")
    there = next(f for f in doctor.examine() if f["package"] == "espeak-ng")
    assert (there["version"], there["advice"]) == ("found", None)


def test_a_version_is_its_numbers():
    assert doctor._numbers("2.13.0+cpu") == (2, 13, 0) and doctor._numbers("1.26.4rc1") == (1, 26, 4)
    assert doctor._numbers("2.9") < doctor._numbers("2.26") and not doctor._numbers("")
