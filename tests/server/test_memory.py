"""Where the limit of memory is read: files as control groups of both versions write them, and this process's own."""

from collections.abc import Mapping
from pathlib import Path

from penstock.flow.memory import Memory
from penstock.server.memory import bounded

MiB = 1024 * 1024
V2_GROUP = "0::/kubepods/pod1/app\n"
V1_GROUP = "12:pids:/\n4:memory:/docker/abc\n0::/\n"
NO_LIMIT_V1 = 9223372036854771712


def written(folder: Path, files: Mapping[str, object]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


def found(folder: Path, group: str, files: Mapping[str, object]) -> Memory | None:
    """The memory of a process in `group`, on a machine that has these files below its mount of control groups."""
    proc = written(folder / "proc", {"cgroup": group.strip()})
    return bounded(proc=proc, groups=written(folder / "cgroup", files))


def v2(path: str, *, limit: object, usage: int = 0, cache: int = 0) -> dict[str, object]:
    stat = f"anon 1\nfile 2\ninactive_file {cache}\nactive_file 5"
    return {f"{path}/memory.max": limit, f"{path}/memory.current": usage, f"{path}/memory.stat": stat}


def v1(path: str, *, limit: object, usage: int = 0, cache: int = 0) -> dict[str, object]:
    stat = f"cache 1\ninactive_file 3\ntotal_inactive_file {cache}"
    return {
        f"memory{path}/memory.limit_in_bytes": limit,
        f"memory{path}/memory.usage_in_bytes": usage,
        f"memory{path}/memory.stat": stat,
    }


def test_version_2_without_the_cache_that_can_be_taken_back(tmp_path: Path) -> None:
    memory = found(tmp_path, V2_GROUP, v2("kubepods/pod1/app", limit=512 * MiB, usage=300 * MiB, cache=100 * MiB))
    assert memory is not None
    assert memory.reading() == (200 * MiB, 512 * MiB)


def test_version_1(tmp_path: Path) -> None:
    memory = found(tmp_path, V1_GROUP, v1("/docker/abc", limit=512 * MiB, usage=300 * MiB, cache=100 * MiB))
    assert memory is not None
    assert memory.reading() == (200 * MiB, 512 * MiB)


def test_the_tightest_of_the_groups_above_holds(tmp_path: Path) -> None:
    groups = {
        **v2("kubepods", limit=4096 * MiB, usage=9),
        **v2("kubepods/pod1", limit=256 * MiB, usage=200 * MiB),
        **v2("kubepods/pod1/app", limit=512 * MiB, usage=100 * MiB),
    }
    memory = found(tmp_path, V2_GROUP, groups)
    assert memory is not None
    assert memory.reading() == (200 * MiB, 256 * MiB)


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    memory = found(tmp_path, V1_GROUP, v1("", limit=512 * MiB, usage=300 * MiB))
    assert memory is not None
    assert memory.reading() == (300 * MiB, 512 * MiB)


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    assert found(tmp_path / "a", V2_GROUP, v2("kubepods/pod1/app", limit="max")) is None
    assert found(tmp_path / "b", V1_GROUP, v1("/docker/abc", limit=NO_LIMIT_V1)) is None
    assert found(tmp_path / "c", V2_GROUP, {}) is None


def test_without_control_groups_there_is_none(tmp_path: Path) -> None:
    assert bounded(proc=tmp_path, groups=tmp_path) is None


def test_a_limit_that_is_lifted_while_the_server_runs_holds_no_more(tmp_path: Path) -> None:
    memory = found(tmp_path, V2_GROUP, v2("kubepods/pod1/app", limit=512 * MiB, usage=500 * MiB))
    assert memory is not None
    written(tmp_path / "cgroup", {"kubepods/pod1/app/memory.max": "max"})
    used, most = memory.reading()
    assert (used, most > 1024 * 1024 * MiB) == (500 * MiB, True)


def test_a_configured_limit_counts_this_process_alone_and_wins(tmp_path: Path) -> None:
    written(tmp_path, {"statm": "90000 5000 900 1 0 8000 0"})
    memory = bounded(64 * MiB, proc=tmp_path, groups=tmp_path)
    assert memory is not None
    used, most = memory.reading()
    assert (used % 5000, used >= 5000 * 4096, most) == (0, True, 64 * MiB)


def test_this_process_can_be_read_and_gives_back_what_it_can() -> None:
    memory = bounded(64 * MiB)
    assert memory is not None
    used, _ = memory.reading()
    memory.release()
    assert used > MiB
