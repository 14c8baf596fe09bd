"""How a machine is made ready: which Python is taken, what is installed for the tests, and what is said when it cannot be."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import tools
from tests.tools import ROOT, TOOLS, Tool, bring


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def python(path: Path, version: str, *, new_enough: bool = True, venv: bool = True) -> Path:
    """An interpreter that answers the three questions scripts/find-python asks."""
    return program(
        path,
        'case "$2" in\n'
        f"*executable*) echo {version}; echo {path} ;;\n"
        f"*version_info*) exit {int(not new_enough)} ;;\n"
        f"*ensurepip*) exit {int(not venv)} ;;\n"
        "esac",
    )


class Machine:
    """A machine with these interpreters and no others."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.pyenv = folder / "pyenv"
        self.bin.mkdir()
        for needed in ("sed", "sh"):
            (self.bin / needed).symlink_to(
                f"/bin/{needed}" if Path(f"/bin/{needed}").exists() else f"/usr/bin/{needed}"
            )

    def find_python(self, *arguments: str, named: str = "") -> tuple[int, str]:
        environment = {"PATH": str(self.bin), "PYENV_ROOT": str(self.pyenv), "PYTHON": named}
        command = [str(ROOT / "scripts/find-python"), *arguments]
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        return done.returncode, (done.stdout + done.stderr).strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_newest_tested_python_on_the_path_is_taken(machine: Machine) -> None:
    python(machine.bin / "python3", "3.11")
    newest = python(machine.bin / "python3.12", "3.12")
    assert machine.find_python() == (0, str(newest))


def test_a_name_on_the_path_that_does_not_run_is_passed_over(machine: Machine) -> None:
    program(machine.bin / "python3.13", "exit 127")
    works = python(machine.bin / "python3", "3.11")
    assert machine.find_python() == (0, str(works))


def test_the_python_one_names_is_taken_before_all_others(machine: Machine) -> None:
    python(machine.bin / "python3.13", "3.13")
    named = python(machine.bin / "mine", "3.11")
    assert machine.find_python(named=str(named)) == (0, str(named))


def test_pyenvs_folder_is_looked_into_when_the_path_has_none(machine: Machine) -> None:
    kept = python(machine.pyenv / "versions/3.12.1/bin/python", "3.12")
    assert machine.find_python() == (0, str(kept))
    assert machine.find_python("3.12") == (0, str(kept))


def test_a_version_that_is_nowhere_is_named(machine: Machine) -> None:
    python(machine.bin / "python3", "3.11")
    code, said = machine.find_python("3.13")
    assert code == 1
    assert said.startswith("error: no Python 3.13 found")


def test_a_python_that_is_too_old_is_named_with_the_way_out(machine: Machine) -> None:
    old = python(machine.bin / "python3", "3.9", new_enough=False)
    code, said = machine.find_python()
    assert code == 1
    assert f"too old: {old}(3.9)" in said
    assert "make PYTHON=" in said


def test_a_python_without_venv_names_the_package_that_brings_it(machine: Machine) -> None:
    python(machine.bin / "python3", "3.11", venv=False)
    code, said = machine.find_python()
    assert code == 1
    assert said.endswith("sudo apt-get install -y python3.11-venv")


class Debian:
    """An `apt-get` that writes down what it is asked for and answers with the exit codes it is given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = folder / "asked"
        self.answers = folder / "answers"
        self.policy = folder / "policy-rc.d"
        self.monkeypatch = monkeypatch
        program(
            folder / "bin/apt-get",
            f'echo "$*" >> {self.asked}\ntest -x {self.policy} || echo unguarded >> {self.asked}\n'
            f'read -r code < {self.answers}\nsed -i 1d {self.answers}\nexit "$code"',
        )
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setattr(tools, "POLICY", self.policy)
        for name in list(TOOLS):
            monkeypatch.delitem(TOOLS, name)
        tool = Tool(name="nginx", found=lambda: False, packages=lambda: ("nginx-light",))
        monkeypatch.setitem(TOOLS, "nginx", tool)

    def bring(self, *codes: int, root: bool) -> list[str]:
        self.answers.write_text("".join(f"{code}\n" for code in codes))
        self.monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
        bring()
        return self.asked.read_text().splitlines() if self.asked.exists() else []


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    return Debian(tmp_path, monkeypatch)


def test_root_on_debian_installs_what_is_missing_and_starts_no_service(debian: Debian) -> None:
    assert debian.bring(0, root=True) == ["-qq install -y --no-install-recommends nginx-light"]
    assert not debian.policy.exists()


def test_stale_package_lists_are_fetched_and_the_install_is_asked_again(debian: Debian) -> None:
    install = "-qq install -y --no-install-recommends nginx-light"
    assert debian.bring(100, 0, 0, root=True) == [install, "-qq update", install]


def test_an_install_that_fails_says_what_to_do_by_hand(debian: Debian, capsys: pytest.CaptureFixture[str]) -> None:
    debian.bring(100, 100, 100, root=True)
    assert "by hand: apt-get install -y --no-install-recommends nginx-light" in capsys.readouterr().out


def test_others_are_told_the_one_command(debian: Debian, capsys: pytest.CaptureFixture[str]) -> None:
    assert debian.bring(root=False) == []
    said = capsys.readouterr().out.strip()
    assert said.endswith("until: sudo apt-get install -y --no-install-recommends nginx-light")
    assert TOOLS["nginx"].command() in said
