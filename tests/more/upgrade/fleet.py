"""A router and those that take over from it: started, upgraded, killed, and all of them gone at the end."""

import asyncio
import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import tempfile
import time
import urllib.error
import urllib.request

from clients import KEY

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """A router that was upgraded is the child of a process that has left: it becomes ours (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children():
    """All our descendants that still run."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent = (entry / "stat").read_text().rpartition(") ")[2].split(" ")[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found, ours = set(), {os.getpid()}
    while ours:
        ours = {pid for pid, parent in parents.items() if parent in ours} - found
        found |= ours
    return found


def lives(pid):
    """Whether a process still runs."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def free_port():
    """One that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Router:
    """The binary under test, with a configuration and a runtime directory of its own. `plain` is where it does not speak TLS."""

    def __init__(self, binary, config, runtime=None, server=""):
        self.server, self.plain = server, None
        self.binary, self.config, self.port = binary, config, free_port()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="upgrade-"))
        self.runtime = pathlib.Path(runtime or self.dir / "run")
        self.runtime.mkdir(exist_ok=True)
        self.file, self.log = self.dir / "config.yaml", self.dir / "log"
        self.write()

    def write(self, config=None):
        """Puts a configuration into the file."""
        self.config = config or self.config
        head = f"server: {{host: 127.0.0.1, port: {self.port}, master_key: {KEY}, threads: 2, drain_timeout: 60s{self.server}}}\n"
        state = f"state: {{dir: {self.dir}/state}}\n" if "\nstate:" not in "\n" + self.config else ""
        self.file.write_text(head + "monitoring: {prometheus_listen: \"off\"}\n" + state + self.config)

    def environment(self):
        """What its processes get."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.dir), "RUNTIME_DIRECTORY": str(self.runtime)}

    async def start(self):
        """Until it answers."""
        with self.log.open("ab") as log:
            args, out = [self.binary, "run", "--config", self.file], asyncio.subprocess.DEVNULL
            await asyncio.create_subprocess_exec(*args, env=self.environment(), stdout=out, stderr=log)
        await self.answers(20)
        return self

    async def answers(self, seconds):
        """Until it answers; False after that time."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                if (await self.get("/health/ready"))[0] == 200:
                    return True
            await asyncio.sleep(0.02)
        return False

    async def get(self, path):
        """Status and body."""
        return await asyncio.to_thread(self.fetch, path)

    def fetch(self, path):
        """The same, waiting."""
        headers = {"Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.plain or self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    async def health(self):
        """The details of /health."""
        return json.loads((await self.get("/health"))[1])

    def processes(self):
        """All its processes that run."""
        mine = str(self.file).encode()
        found = []
        for pid in children():
            with contextlib.suppress(OSError):
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"run" in words and mine in words:
                    found.append(pid)
        return found

    def pid(self):
        """The process that serves, as its file says; none on a full disk."""
        file = self.runtime / f"router-{self.port}.pid"
        return int(file.read_text()) if file.exists() else None

    async def tell(self, *args, hear=None):
        """Runs the binary's own command: exit code, its lines, seconds. `hear` gets each line as it comes."""
        begun, lines = time.monotonic(), []
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
        args = [self.binary, *args, "--config", self.file]
        process = await asyncio.create_subprocess_exec(*args, env=self.environment(), **pipes)
        async for line in process.stdout:
            lines.append(line.decode().rstrip())
            if hear:
                hear(lines[-1])
        return await process.wait(), lines, time.monotonic() - begun

    async def upgrade(self, *args, hear=None):
        """Lets another process take over, and waits until the file names it."""
        code, lines, seconds = await self.tell("upgrade", *args, hear=hear)
        new = [int(line.split("  process ")[1].split(" ")[0]) for line in lines if " serves; " in line]
        while code == 0 and lives(new[0]) and self.pid() not in (None, new[0]):
            await asyncio.sleep(0.01)
        return code, lines, seconds

    def end(self):
        """Removes what it has left on disk."""
        shutil.rmtree(self.dir, ignore_errors=True)


def kill(pid, number=signal.SIGKILL):
    """Sends a signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end_all():
    """Ends every process that was started here."""
    for pid in children():
        kill(pid)
