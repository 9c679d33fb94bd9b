"""Whether Prometheus takes our metrics: prometheus.py BINARY PROMETHEUS_DIR, the latter with `promtool` and `prometheus`.

`promtool check metrics` reads /metrics; then a real Prometheus scrapes the demonstration and answers queries.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from demo import Demo, free_port

CONFIG = """
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: router
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""
PATIENCE = 30


def checked(tools, text):
    """`promtool check metrics`: 0 is well, 3 well but for remarks on style, anything else is unreadable."""
    command = [os.path.join(tools, "promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        print(f"promtool: {line}")
    assert done.returncode in (0, 3), f"promtool cannot read the metrics: {done.returncode}"
    print(f"promtool check metrics ... ok ({len(text.splitlines())} lines, exit code {done.returncode})")


def query(base, expression):
    """The value of an expression whose answer is one number, or None while there is none."""
    url = f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
    except OSError:
        return None
    return float(found[0]["value"][1]) if found else None


def scraped(tools, demo):
    """Runs Prometheus until its queries see what was asked of the router."""
    with tempfile.TemporaryDirectory() as place:
        config = pathlib.Path(place, "prometheus.yml")
        config.write_text(CONFIG.format(port=demo.port), encoding="utf-8")
        base = f"127.0.0.1:{free_port()}"
        command = [os.path.join(tools, "prometheus"), f"--config.file={config}", f"--storage.tsdb.path={place}/tsdb",
                   f"--web.listen-address={base}", "--log.level=warn"]
        process = subprocess.Popen(command, cwd=place)
        try:
            ask_until_seen(f"http://{base}", demo)
        finally:
            process.terminate()
            process.wait(20)


def ask_until_seen(base, demo):
    """Ten seconds of requests and scrapes, then the questions."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        assert demo.chat("demo-echo") == 200
        time.sleep(0.5)
    for expression in (
        "sum(auto_ai_router_requests_total)",
        "sum(rate(auto_ai_router_requests_total[10s]))",
        'up{job="router"}',
        "histogram_quantile(0.5, sum by (le) (auto_ai_router_overhead_seconds_bucket))",
    ):
        value = patiently(lambda expression=expression: query(base, expression))
        print(f"prometheus {expression} = {value} ... {'ok' if value else 'FAILED'}")
        assert value and value > 0, expression


def patiently(act):
    """What `act` returns, once it is something."""
    ends = time.monotonic() + PATIENCE
    while not (value := act()) and time.monotonic() < ends:
        time.sleep(0.5)
    return value


def main(binary, tools):
    """Raises when anything is wrong."""
    tools = os.path.abspath(tools)
    with Demo(binary) as demo:
        for model in ("demo-echo", "demo-flaky", "demo-limited", "no-such-model"):
            demo.chat(model)
            demo.chat(model, stream=True)
        status, text = demo.ask("/metrics")
        assert status == 200, status
        checked(tools, text)
        scraped(tools, demo)
    print("prometheus: passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
