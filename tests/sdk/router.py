"""The router under test: a configuration, by default with two credentials at one provider, and the process."""

import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.request

KEY = "sk-sdk-suite-0123456789abcdef"
CONFIG = """
server:
  host: 127.0.0.1
  port: {port}
  master_key: {key}
monitoring:
  prometheus_listen: "off"
admin:
  listen: unix:{dir}/admin.sock
state:
  dir: {dir}/state
fail2ban:
  error_codes: []
credentials:
"""
CREDENTIALS = """
  - name: red
    api_key: sk-upstream-red-0123456789
    base_url: {url}
  - name: blue
    api_key: sk-upstream-blue-0123456789
    base_url: {url}
"""
LIMITS = """
models:
  - name: scarce
    rpm: 1
"""


class Router:
    """A running router; ended when the block ends. `credentials` is that list in YAML."""

    def __init__(self, binary, upstream, credentials=CREDENTIALS):
        self.dir = tempfile.TemporaryDirectory()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        config = (CONFIG + credentials).format(port=self.port, key=KEY, dir=self.dir.name, url=upstream)
        path = pathlib.Path(self.dir.name, "config.yaml")
        path.write_text(config, encoding="utf-8")
        path.with_name("models.yaml").write_text(LIMITS, encoding="utf-8")
        self.log = open(pathlib.Path(self.dir.name, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([binary, "run", "--config", path], stdout=self.log, stderr=self.log)

    def __enter__(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=1) as answer:
                    if answer.status == 200:
                        return self
            except OSError:
                time.sleep(0.02)
        self.__exit__()
        raise RuntimeError("the router was never ready")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.dir.cleanup()

    def tail(self):
        """The end of its log."""
        self.log.flush()
        return pathlib.Path(self.log.name).read_text(encoding="utf-8")[-3000:]


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
