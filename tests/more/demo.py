"""`auto-ai-router demo` as a process that a check can ask things of; ended when the block ends."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "sdk"))

from router import free_port  # noqa: E402


def end(process):
    """Ends a process that was started here, with a kill where asking does not help."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Demo:
    """A running demonstration: `url` without a path, `port`, `key`."""

    def __init__(self, binary):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = None
        self.dir = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.dir.name, "said")
        command = [os.path.abspath(binary), "demo", "--port", str(self.port)]
        with open(self.path, "w", encoding="utf-8") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said, cwd=self.dir.name)

    def __enter__(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            key = re.search(r"sk-demo-[0-9a-f]+", self.path.read_text(encoding="utf-8"))
            try:
                if key and self.ask("/health/ready")[0] == 200:
                    self.key = key.group()
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        said = self.path.read_text(encoding="utf-8")
        self.__exit__()
        raise RuntimeError(f"the demonstration was never ready\n{said}")

    def __exit__(self, *_):
        end(self.process)
        self.dir.cleanup()

    def ask(self, path, body=None):
        """Status and body; a `body` makes it a POST with the key."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"} if self.key else {}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def chat(self, model, **more):
        """The status of a chat completion."""
        messages = [{"role": "user", "content": "hello there"}]
        return self.ask("/v1/chat/completions", {"model": model, "messages": messages} | more)[0]
