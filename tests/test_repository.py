"""What a clone must hold: locks without addresses, files without machine paths, documented targets, a clean wheel."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import penstock
from tests.tools import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
REGISTRY = re.compile(rb"https?://[^\s\"'<>)]*(?:pypi|pythonhosted|npmjs|artifact|registry)[^\s\"'<>)]*")
# Someone's home, or the folder this very checkout happens to stand in.
MACHINE_PATH = re.compile(
    rb"(?<![\w.~-])/(?:root|home/\w+|Users/\w+)/|" + re.escape(str(ROOT).encode()) + rb"(?![\w-])"
)


def git(*arguments: str) -> str:
    # A clone that another user made is as good as one's own to read.
    command = ["git", "-c", "safe.directory=*", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def tracked() -> Iterator[tuple[str, bytes]]:
    """Every text file that git keeps, as (name, content)."""
    for name in filter(None, git("ls-files", "-z").split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink() and b"\0" not in (content := path.read_bytes()):
            yield name, content


def locked(path: Path) -> dict[str, tuple[Requirement, list[str]]]:
    """The lock as name → (pinned requirement, hashes); a package pinned twice for two markers keeps the one for here."""
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for line in path.read_text().replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split("--hash=")
        pinned = Requirement(requirement)
        name = canonicalize_name(pinned.name)
        if name not in found or pinned.marker is None or pinned.marker.evaluate():
            found[name] = (pinned, [digest.strip() for digest in hashes])
    return found


def version_of(pinned: Requirement) -> str:
    (specifier,) = pinned.specifier
    assert specifier.operator == "==", f"{pinned} is not a pin"
    return specifier.version


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def wanted(lock: str) -> list[str]:
    """What pyproject.toml asks of a lock."""
    document = project()
    metadata, groups = document["project"], document["dependency-groups"]
    assert isinstance(metadata, dict)
    assert isinstance(groups, dict)

    def group(name: str) -> list[str]:
        entries: list[str | dict[str, str]] = groups[name]
        return [
            word for entry in entries for word in ([entry] if isinstance(entry, str) else group(entry["include-group"]))
        ]

    core: list[str] = metadata["dependencies"]
    litellm: list[str] = metadata["optional-dependencies"]["litellm"]
    return {
        "core": core,
        "build": group("build"),
        "test": core + group("test"),
        "dev": core + group("dev"),
        "litellm": core + litellm,
        "openai2": group("clients-openai2"),
        "terminal": group("clients-terminal"),
        "langchain": group("clients-langchain"),
        "llamaindex": group("clients-llamaindex"),
        "aider": group("clients-aider"),
        "llama": group("realserver"),
        "fuzz": group("fuzz"),
        "docs": group("docs"),
    }[lock]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_pins_and_hashes_everything_and_names_no_address(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r".*(?://|file:|@ |^-|--(?!hash=)\S+).*", text, re.MULTILINE) == []
    pins = locked(path)
    assert [name for name, (pinned, _) in pins.items() if [part.operator for part in pinned.specifier] == ["=="]] == [
        *pins
    ]
    bad = [name for name, (_, hashes) in pins.items() if not hashes or any(not is_sha256(value) for value in hashes)]
    assert bad == []


def is_sha256(value: str) -> bool:
    return re.fullmatch(r"sha256:[0-9a-f]{64}", value) is not None


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_holds_what_pyproject_asks_for(path: Path) -> None:
    pins = locked(path)
    missing = []
    for text in wanted(path.stem):
        asked = Requirement(text)
        if asked.marker is not None and not asked.marker.evaluate():
            continue
        pinned = pins.get(canonicalize_name(asked.name))
        if pinned is None or not asked.specifier.contains(version_of(pinned[0])):
            missing.append(text)
    assert missing == []


@pytest.mark.parametrize("other", ["test", "dev", "litellm"])
def test_what_is_tested_is_what_is_installed(other: str) -> None:
    core, tested = locked(ROOT / "requirements/core.lock"), locked(ROOT / f"requirements/{other}.lock")
    different = {
        name: (version_of(pinned), version_of(tested[name][0]))
        for name, (pinned, _) in core.items()
        if version_of(tested[name][0]) != version_of(pinned)
    }
    assert different == {}


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8"])
def test_the_compromised_releases_of_litellm_are_excluded(version: str) -> None:
    (asked,) = [Requirement(text) for text in wanted("litellm") if text.startswith("litellm")]
    assert not asked.specifier.contains(version)


def test_what_is_tested_on_every_python_begins_with_imports_of_the_test_lock() -> None:
    """`make test-matrix` has no more than that; the folders it leaves out may import the clients."""
    left_out = {ROOT / folder for folder in re.findall(r"--ignore=(\S+)", (ROOT / "Makefile").read_text())}
    assert left_out
    missing = {name.replace("-", "_") for name in locked(ROOT / "requirements/dev.lock")}
    missing -= {name.replace("-", "_") for name in locked(ROOT / "requirements/test.lock")}
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if not left_out & set(path.parents) and "node_modules" not in path.parts
        for name in _imported(path)
        if name in missing
    ]
    assert found == []


def _imported(path: Path) -> Iterator[str]:
    """The packages a module imports as it is loaded."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.Import():
                yield from (each.name.partition(".")[0] for each in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module.partition(".")[0]


def test_node_packages_are_locked_by_content_and_name_no_address() -> None:
    text = (ROOT / "tests/live/node/package-lock.json").read_text()
    assert re.findall(r"resolved|https?:", text) == []
    assert text.count('"integrity": "sha512-') == text.count('"node_modules/')


@pytest.mark.needs("git")
@pytest.mark.parametrize("pattern", [REGISTRY, MACHINE_PATH], ids=["registry", "machine path"])
def test_no_file_says_where_it_was_made(pattern: re.Pattern[bytes]) -> None:
    found = {name: sorted(set(pattern.findall(content))) for name, content in tracked() if pattern.search(content)}
    assert found == {}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (REGISTRY, "https:" + "//pypi" + ".example/simple"),
        (REGISTRY, "http:" + "//mirror.example/artifact" + "ory/npm"),
        (MACHINE_PATH, "see /home" + "/someone/notes"),
        (MACHINE_PATH, str(ROOT / "Makefile")),
    ],
)
def test_a_place_of_making_would_be_seen(pattern: re.Pattern[bytes], text: str) -> None:
    assert pattern.search(text.encode()) is not None


@pytest.mark.needs("git")
def test_scripts_can_be_run() -> None:
    modes = {line.partition("\t")[2]: line.split()[0] for line in git("ls-files", "-s", "scripts", ".ci").splitlines()}
    assert ".ci/run" in modes
    assert {name: mode for name, mode in modes.items() if mode != "100755"} == {}


def test_contributing_documents_every_make_target_and_no_other() -> None:
    makefile = (ROOT / "Makefile").read_text()
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert described == set(phony.split())
    assert set(re.findall(r"^\| `make ([a-z-]+)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)) == described


def test_the_changelog_opens_with_what_is_to_come_and_the_compatibility_policy_above_it() -> None:
    headings = re.findall(r"^## (\S+)|^(\*\*Compatibility)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == [("", "**Compatibility"), ("Unreleased", "")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel as a release would build it, made from this checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_wheel_holds_the_package_and_nothing_that_runs_by_itself(wheel: zipfile.ZipFile) -> None:
    about = f"penstock-{penstock.__version__}.dist-info"
    names = wheel.namelist()
    assert [name for name in names if name.partition("/")[0] not in {"penstock", about}] == []
    assert [name for name in names if name.endswith((".pth", ".pyc"))] == []
    assert {"penstock/py.typed", f"{about}/licenses/LICENSE"} <= set(names)
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/penstock").rglob("*.py")}
    assert modules - set(names) == set()


def test_the_wheel_says_which_version_and_licence_it_is(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f"penstock-{penstock.__version__}.dist-info/METADATA").decode().splitlines()
    assert {f"Version: {penstock.__version__}", "License-Expression: Apache-2.0", "Requires-Python: >=3.11"} <= set(
        metadata
    )


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    entries = wheel.read(f"penstock-{penstock.__version__}.dist-info/entry_points.txt").decode()
    assert "penstock = penstock.cli:main" in entries.splitlines()
