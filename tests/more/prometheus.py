"""Whether Prometheus takes our metrics: prometheus.py BINARY PROMETHEUS_DIR, the latter with `promtool` and `prometheus`.

`promtool check metrics` reads /metrics, `test rules` tries the alerts of packaging/prometheus; then a real Prometheus
scrapes the demonstration and answers queries, those of packaging/grafana/dashboard.json and of the alerts included.
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

PACKAGING = pathlib.Path(__file__).resolve().parents[2] / "packaging"
# What the demonstration has none of.
MAY_BE_EMPTY = ("credential_tpm_limit", "credential_rpm_limit", "credential_quota", "model_quota", "peer_up", "shared_state")
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


def alerts_hold(tools):
    """`promtool test rules`: every alert fires when it should, and not on a good day."""
    command = [os.path.join(tools, "promtool"), "test", "rules", "alerts.test.yml"]
    subprocess.run(command, cwd=PACKAGING / "prometheus", stdout=subprocess.DEVNULL, timeout=30, check=True)
    print("promtool test rules alerts.test.yml ... ok")


def expressions():
    """What the dashboard asks, panel by panel, with its variables set."""
    dashboard = json.loads((PACKAGING / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".*")


def dashboard_shows(base):
    """Every panel has something to show."""
    empty = {title for title, expression in expressions() if patiently(lambda e=expression: answers(base, e), 5) is None}
    wrong = {title for title, expression in expressions()
             if title in empty and not any(word in expression for word in MAY_BE_EMPTY)}
    assert not wrong, f"panels that show nothing: {wrong}"
    print(f"dashboard: {len(set(title for title, _ in expressions()))} panels, empty here: {sorted(empty)} ... ok")


def answers(base, expression):
    """The series that an expression has, or None where there are none; a wrong expression raises."""
    url = f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)["data"]["result"] or None


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
            dashboard_shows(f"http://{base}")
        finally:
            process.terminate()
            process.wait(20)


def ask_until_seen(base, demo):
    """Ten seconds of requests and scrapes, then the questions."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        assert demo.chat("demo-echo") == 200
        demo.chat("demo-flaky", stream=True)
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


def patiently(act, patience=PATIENCE):
    """What `act` returns, once it is something."""
    ends = time.monotonic() + patience
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
        alerts_hold(tools)
        scraped(tools, demo)
    print("prometheus: passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
