"""Builds and runs the C programs and the servers under test, each on its own CPU, and reads what they cost.

The server under test has one CPU for itself; the upstream, the load generator and this process share another. CPU time is
the kernel's sum per process, read by `load` at the same instants at which it counts tokens; memory is from
`/proc/PID/status`.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.scenarios import Scenario
from benchmarks.servers import Server

NATIVE = Path(__file__).parent / "native"
COMPILE = ["cc", "-O2", "-Wall", "-Wextra", "-Werror"]
OPEN_FILES = 8192


class Unavailable(Exception):
    """Something the run needs is not there; the message says what to do."""


class Spread(msgspec.Struct, frozen=True):
    """Microseconds; None without samples."""

    count: int
    p50: int | None
    p90: int | None
    p99: int | None
    p999: int | None
    max: int | None


class Cost(msgspec.Struct, frozen=True):
    """A stretch of a run; `cpu_seconds` is None without processes to count, or when one ended meanwhile."""

    seconds: float
    tokens: int
    finished: int
    cpu_seconds: float | None


class LoadResult(msgspec.Struct, frozen=True):
    """What `load` prints."""

    started: int
    finished: int
    unfinished: int
    failed_connect: int
    failed_status: int
    failed_cut: int
    failed_end: int
    first_failure: str
    tokens: int
    lost: int
    repeated: int
    reordered: int
    crossed: int
    reads: int
    bytes: int
    age_us: Spread
    first_us: Spread
    steady: Cost | None
    whole: Cost

    @property
    def wrong(self) -> int:
        """Tokens that did not come exactly once, in order, to the one who asked."""
        return self.lost + self.repeated + self.reordered + self.crossed

    @property
    def failed(self) -> int:
        """Streams that did not come to their proper end."""
        return self.failed_connect + self.failed_status + self.failed_cut + self.failed_end + self.unfinished


class UpstreamStats(msgspec.Struct, frozen=True):
    """What `GET /stats` of the mock upstream answers. `last_abort_us` is on the clock of `time.monotonic`."""

    connections: int
    active: int
    opened: int
    finished: int
    aborted: int
    last_abort_us: int
    tokens: int
    blocked: int
    late_us: int


class Programs(msgspec.Struct, frozen=True):
    upstream: Path
    load: Path


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Which CPU is whose. With `realtime` the server and, where tokens are paced, the upstream run before everything else
    there, so that a machine which is not quiet still gives figures."""

    server: int
    load: int
    realtime: bool = False


def build(directory: Path) -> Programs:
    """Compiles `upstream` and `load` into `directory`. Raises `Unavailable` without a compiler or off Linux."""
    if not sys.platform.startswith("linux"):
        raise Unavailable("the benchmarks need Linux (epoll, /proc)")
    if shutil.which(COMPILE[0]) is None:
        raise Unavailable("no C compiler; install one with: apt-get install gcc libc6-dev")
    directory.mkdir(parents=True, exist_ok=True)
    programs = Programs(upstream=directory / "upstream", load=directory / "load")
    for program in (programs.upstream, programs.load):
        subprocess.run([*COMPILE, "-o", str(program), str(NATIVE / f"{program.name}.c")], check=True)
    return programs


def place(*, realtime: bool = False) -> Placement:
    """Raises `Unavailable` with fewer than two CPUs: the server would share its one with what measures it."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Unavailable("the benchmarks need two CPUs: one for the server, one for upstream and load")
    return Placement(server=cpus[-1], load=cpus[0], realtime=realtime)


def raise_open_files(wanted: int = OPEN_FILES) -> None:
    """Lifts this process's soft limit, which its children inherit. Raises `Unavailable` when the hard one is too low and
    this user may not lift that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, PermissionError):
            raise Unavailable(f"the limit of open files is {hard}; raise it with: ulimit -n {wanted}") from None
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    """A port nobody listens on. It is below those the system hands out by itself, so that no connection made in the meantime
    takes it."""
    handed_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(handed_out, 20_000))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def on_cpu(cpu: int | None) -> Iterator[None]:
    """What is started inside runs on that CPU from its first instruction on; None leaves it to the system."""
    own = os.sched_getaffinity(0)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def put_first(pid: int, *, before: int = 0) -> None:
    """Lets the process run before everything else on its CPU, and before those put first with a lesser `before`; without
    effect where the system does not allow it."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1 + before))


def put_back(pid: int) -> None:
    """Takes `put_first` back."""
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time so far, ended threads included. Linux writes a process's CPU clock as its complement (see
    clock_getcpuclockid(3))."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime_ns(~pid << 3 | 2)
    return total / 1e9


def kernel_seconds(pids: Sequence[int]) -> float:
    """The part of the CPU time that was spent in the kernel, to a hundredth of a second: `stime` of `/proc/PID/stat`."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def threads(pids: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Nanoseconds each thread has run, and has waited for a CPU ready to run: schedstat's first two fields."""
    found = {}
    for pid in pids:
        for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                ran, waited, _ = schedstat.read_text().split()
                found[schedstat.parent.name] = int(ran), int(waited)
    return found


def waited_share(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> float:
    """Of the thread that did the most: the part of the time it wanted a CPU in which it had none. Threads that do little
    wait for the one that does much, which says nothing about the machine."""
    spans = [
        (ran - before[thread][0], waited - before[thread][1])
        for thread, (ran, waited) in after.items()
        if thread in before
    ]
    ran, waited = max(spans, default=(0, 0))
    return waited / (ran + waited) if ran else 0.0


def memory_kib(pids: Sequence[int], field: str) -> int:
    """Sum of `VmRSS` or `VmHWM` (the peak since `forget_peak`)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    total += int(line.split()[1])
    return total


def forget_peak(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process with all its descendants."""
    pids = family(process.pid)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in pids[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Upstream:
    """The mock provider while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process = process
        self.pid = process.pid
        self.address = address

    def stats(self) -> UpstreamStats:
        """Raises `Unavailable` when it has ended."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/stats", timeout=10) as answer:
                return msgspec.json.decode(answer.read(), type=UpstreamStats)
        except OSError as problem:
            code = self.process.poll()
            raise Unavailable(f"the mock upstream does not answer ({problem}; exit code {code})") from None


@contextlib.contextmanager
def upstream(programs: Programs, *, cpu: int | None = None, fault: str = "none") -> Iterator[Upstream]:
    # Not in a session of its own: Linux would schedule it as a group beside that of `load`, each for long slices (autogroup),
    # and an unpaced upstream would then run far ahead of its reader, which makes every server look three times as cheap.
    with on_cpu(cpu):
        process = subprocess.Popen([programs.upstream, "--fault", fault], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield Upstream(process, process.stdout.readline().decode().split()[-1])
    finally:
        stop(process)
        assert process.stdout is not None
        process.stdout.close()


def run_load(
    programs: Programs,
    *,
    url: str,
    body: str,
    scenario: Scenario,
    end: str = "[DONE]",
    headers: Sequence[str] = (),
    stream: int = 0,
    cpu_of: Sequence[int] = (),
    cpu: int | None = None,
) -> LoadResult:
    """One run of the load generator; it ends within the scenario's limit, whatever the server does. With `stream` every
    connection reads that one stream."""
    command = [str(programs.load), "--url", url, "--body", body, "--end", end, "--stream", str(stream)]
    for option in msgspec.structs.fields(scenario):
        if option.name != "title":
            command += [f"--{option.name.replace('_', '-')}", str(getattr(scenario, option.name))]
    for header in headers:
        command += ["--header", header]
    for pid in cpu_of:
        command += ["--cpu-of", str(pid)]
    with on_cpu(cpu):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
    # Where tokens come at their own pace, load runs first on its CPU, so that a token is timed when it arrives and not
    # when upstream has used up its turn. Unpaced it would leave upstream no turn at all.
    if cpu is not None and scenario.paced:
        put_first(process.pid, before=1)
    try:
        out, _ = process.communicate(timeout=scenario.limit_ms / 1000 + 30)
    finally:
        process.kill()
    if process.returncode not in (0, 1):
        raise Unavailable(f"load ended with {process.returncode}")
    return msgspec.json.decode(out, type=LoadResult)


READY = Scenario(title="ready?", streams=1, tokens=3, rate=0, limit_ms=5000)
WARM_UP = Scenario(title="warm-up", streams=32, tokens=30, rate=0, each=15, until_ms=3000, limit_ms=8000)


class Running:
    """A server under test while it runs, in a folder of its own."""

    def __init__(
        self, server: Server, programs: Programs, upstream: Upstream, placement: Placement, directory: Path
    ) -> None:
        self.server = server
        self.programs = programs
        self.upstream = upstream
        self.placement = placement
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return self._fill(self.server.url)

    @property
    def pids(self) -> list[int]:
        return family(self.process.pid) if self.process else []

    def _fill(self, template: str) -> str:
        places = {"port": str(self.port), "upstream": self.upstream.address, "dir": str(self.directory)}
        for name, value in places.items():
            template = template.replace(f"{{{name}}}", value)
        return template

    def _environment(self) -> Mapping[str, str]:
        return os.environ | {name: self._fill(value) for name, value in self.server.env.items()}

    def launch(self) -> float:
        """Starts the process; returns the seconds until it took a connection. Raises `Unavailable` when it never does."""
        self.port = free_port()
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, template in self.server.files.items():
            (self.directory / name).write_text(self._fill(template))
        if self.server.program is None:
            raise Unavailable(f"{self.server.command[0]} is missing; install it with: {self.server.install}")
        command = [self.server.program, *map(self._fill, self.server.command[1:])]
        began = time.monotonic()
        with (self.directory / "log").open("wb") as log, on_cpu(self.placement.server):
            self.process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if self.placement.realtime:
            put_first(self.process.pid)
        while time.monotonic() - began < 60:
            if self.server.announces:
                said = re.search(self.server.announces, (self.directory / "log").read_text(errors="replace"))
                self.port = int(said[1]) if said else 0
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
                return time.monotonic() - began
            if self.process.poll() is not None:
                break
            time.sleep(0.001)
        self.end()
        raise Unavailable(f"{self.server.name} did not start to listen; it said:\n{self._last_words()}")

    def start(self, *, warm_up: bool = True) -> None:
        """Starts the server, waits for the first whole answer and warms it up."""
        if self.server.command:
            self.launch()
        answer = self.load(READY)
        deadline = time.monotonic() + 60
        while not answer.finished and time.monotonic() < deadline:
            time.sleep(0.2)
            answer = self.load(READY)
        if not answer.finished:
            self.end()
            raise Unavailable(f"{self.server.name} gives no answer ({answer.first_failure})\n{self._last_words()}")
        if warm_up:
            self.load(WARM_UP)
            self.settle()

    def _last_words(self) -> str:
        log = self.directory / "log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    def load(self, scenario: Scenario) -> LoadResult:
        server = self.server
        return run_load(
            self.programs,
            url=self.url,
            body=server.body,
            end=server.end,
            headers=[self._fill(header) for header in server.headers],
            scenario=scenario,
            cpu_of=self.pids,
            cpu=self.placement.load,
        )

    def settle(self) -> bool:
        """Waits until nothing of the last scenario is left to do; False when the server does not come to rest."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            pids = self.pids
            before = cpu_seconds(pids)
            time.sleep(0.25)
            if cpu_seconds(pids) - before < 0.025 and not self.upstream.stats().active:
                return True
        return False

    def ended(self) -> str:
        """How the process ended by itself; empty while it runs."""
        code = self.process.poll() if self.process else None
        return "" if code is None else f"ended by itself with {code}"

    def end(self) -> None:
        if self.process is not None:
            stop(self.process)
            self.process = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario on one server in one round."""

    round: int
    scenario: str
    server: str
    load: LoadResult
    memory_before_kib: int
    memory_peak_kib: int
    upstream_late_us: float
    """How late the upstream sent its tokens on average: above some hundred, the machine was too slow for the rate."""
    kernel_share: float = 0.0
    """The part of the server's CPU time that it spent in the kernel."""
    waited_share: float
    """See `waited_share`: above some hundredths, something else ran on the server's CPU."""
    restarted: str = ""
    """Why the server was started afresh after this scenario, if it was."""

    @property
    def faulty(self) -> bool:
        return self.load.wrong > 0 or self.load.failed > 0


def measure(running: Running, letter: str, scenario: Scenario, *, number: int) -> Measured:
    pids = running.pids
    before_kib = memory_kib(pids, "VmRSS")
    forget_peak(pids)
    before = running.upstream.stats()
    threads_before = threads(pids)
    kernel_before, cpu_before = kernel_seconds(pids), cpu_seconds(pids)
    if running.placement.realtime and scenario.paced:
        put_first(running.upstream.pid)
    result = running.load(scenario)
    put_back(running.upstream.pid)
    kernel, spent = kernel_seconds(pids) - kernel_before, cpu_seconds(pids) - cpu_before
    threads_after = threads(pids)
    after = running.upstream.stats()
    peak_kib = memory_kib(running.pids, "VmHWM")
    restarted = running.ended() or ("" if running.settle() else "did not come to rest within 10 s")
    if restarted and running.process:
        running.end()
        running.start()
    return Measured(
        round=number,
        scenario=letter,
        server=running.server.name,
        load=result,
        memory_before_kib=before_kib,
        memory_peak_kib=peak_kib,
        upstream_late_us=(after.late_us - before.late_us) / max(after.tokens - before.tokens, 1),
        kernel_share=kernel / spent if spent > 0 else 0.0,
        waited_share=waited_share(threads_before, threads_after),
        restarted=restarted,
    )
