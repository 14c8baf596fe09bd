"""Reads a Dockerfile and a .dockerignore, as far as ours go, and takes the steps of a build in a folder instead of an image."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STANDING_IN = '#!/bin/sh\nprintf \'%s\\n\' "$(basename "$0") $*" >> "$ACCOUNTS"\n'
"""For what would make users on this machine: it writes down what it was asked for."""


@dataclass(frozen=True)
class Instruction:
    word: str
    rest: str


@dataclass
class Stage:
    """What one `FROM` begins. `settings` are its ARG and ENV so far."""

    name: str
    base: str
    settings: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions in their order, lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield Instruction(word, " ".join(rest.split()) if word != "HEALTHCHECK" else rest.strip())


def last(text: str, word: str) -> str:
    """What the last instruction of this kind says: the one in force."""
    return [each.rest for each in instructions(text) if each.word == word][-1]


def command(text: str, word: str) -> list[str]:
    """The command of an instruction in JSON form."""
    said = last(text, word)
    parsed: list[str] = json.loads(said[said.index("[") :])
    return parsed


def context(root: Path) -> list[Path]:
    """The files that a build with `root` as its context is given. The last line of .dockerignore that fits decides."""
    rules = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    return [path for path in _files(root) if not _ignored(str(path.relative_to(root)), rules)]


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        # As large as they are, these are looked at by name alone.
        folders[:] = [each for each in folders if each not in (".git", ".venv", ".venvs", "node_modules")]
        yield from (Path(folder, file) for file in files)


def _ignored(path: str, rules: list[str]) -> bool:
    ignored = False
    for rule in rules:
        wanted = rule.removeprefix("!").removeprefix("**/")
        inside = [path, *(str(parent) for parent in Path(path).parents)]
        anywhere = rule.startswith("**/") and any(fnmatch.fnmatch(part, wanted) for part in Path(path).parts)
        if anywhere or any(fnmatch.fnmatch(each, wanted) for each in inside if each != "."):
            ignored = not rule.startswith("!")
    return ignored


class Build:
    """A build whose `/` is the folder `into`. The base image's Python is the one beneath this environment."""

    def __init__(self, root: Path, into: Path, **arguments: str):
        self.root = root
        self.into = into
        self.arguments = arguments
        self.accounts = into / "accounts"
        self.stage = Stage("", "")
        self._text = (root / "Dockerfile").read_text()
        self._given: dict[str, str] = {}
        self._tools = into / "tools"
        self._tools.mkdir(parents=True)
        for name in ("groupadd", "useradd"):
            (self._tools / name).write_text(STANDING_IN)
            (self._tools / name).chmod(0o755)
        bare = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (self._tools / "python").symlink_to(Path(sys.base_prefix, "bin", bare))
        self._path = f"{self._tools}:{os.environ['PATH']}"
        self._made = sorted({each for each in self._places() if each != "/"}, key=len, reverse=True)

    def _places(self) -> Iterator[str]:
        """The folders that the Dockerfile makes: all that a step may write to."""
        for each in instructions(self._text):
            if each.word == "WORKDIR":
                yield each.rest
            elif each.word == "COPY" and "--from=" in each.rest:
                yield each.rest.split()[-1]

    def run(self) -> None:
        """Take every step. Raises `CalledProcessError` for one that fails, `ValueError` for one that is not known here."""
        for each in instructions(self._text):
            match each.word:
                case "ARG":
                    name, _, value = each.rest.partition("=")
                    value = self.arguments.get(name, self._given.get(name, value))
                    (self.stage.settings if self.stage.base else self._given)[name] = value
                case "FROM":
                    base, _, name = self._filled(each.rest).partition(" AS ")
                    self.stage = Stage(name, base)
                case "ENV":
                    for pair in shlex.split(each.rest):
                        name, _, value = pair.partition("=")
                        self.stage.settings[name] = self._filled(value)
                case "WORKDIR":
                    self.stage.workdir = each.rest
                    self.inside(each.rest).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(each.rest.split())
                case "RUN":
                    self._shell(each.rest)
                case "USER" | "EXPOSE" | "STOPSIGNAL" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD":
                    pass
                case unknown:
                    raise ValueError(f"no step {unknown!r} is known here")

    def inside(self, path: str) -> Path:
        """Where a path of the image is here."""
        return self.into / "image" / str(Path(self.stage.workdir) / path).lstrip("/")

    def environment(self, **more: str) -> dict[str, str]:
        """As a container has it, with its paths, and this machine's ways to the package registry."""
        settings = {name: self._here(value) for name, value in self.stage.settings.items()}
        path = settings.get("PATH", self._path)
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("PIP_") or name.endswith(("_proxy", "_PROXY")) or name in ("HOME", "SSL_CERT_FILE")
        }
        # What was fetched once need not be fetched again; an image would only grow by it.
        settings.pop("PIP_NO_CACHE_DIR", None)
        return {**kept, **settings, "PATH": path, "ACCOUNTS": str(self.accounts), **more}

    def _filled(self, text: str) -> str:
        known: Mapping[str, str] = {"PATH": self._path, **self._given, **self.stage.settings}
        return re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], text)

    def _here(self, text: str) -> str:
        for place in self._made:
            text = re.sub(
                rf"(?<![\w.-]){re.escape(place)}(?=[/:\s]|$)", str(self.into / "image" / place.lstrip("/")), text
            )
        return text

    def _copy(self, words: list[str]) -> None:
        if words[0].startswith("--from="):
            # The stages share one folder: what is copied to the same place is there.
            if words[1] != words[2] or not self.inside(words[1]).exists():
                raise ValueError(f"cannot copy {words[1]} to {words[2]}")
            return
        given = context(self.root)
        *sources, target = words
        for source in sources:
            found = [
                path for path in given if path.match(str(self.root / source)) or self.root / source in path.parents
            ]
            if not found:
                raise ValueError(f"{source} is not in the context")
            for path in found:
                below = self.root / source if (self.root / source).is_dir() else path.parent
                to = self.inside(target) / path.relative_to(below)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to)

    def _shell(self, script: str) -> None:
        subprocess.run(
            ["/bin/sh", "-ec", self._here(script)],
            cwd=self.inside(self.stage.workdir),
            env=self.environment(),
            check=True,
        )
