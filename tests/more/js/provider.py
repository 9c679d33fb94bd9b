"""The scripted provider and a router before it, for a suite in another language: provider.py BINARY COMMAND...

Runs COMMAND with ROUTER_URL, ROUTER_KEY and PROVIDER_URL set, ends the router, and exits as COMMAND did.
"""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "sdk"))

import router as routers  # noqa: E402
import upstream as upstreams  # noqa: E402


def tools_with_role(exchange, call):
    """A streamed tool call whose first chunk names the role: the JavaScript SDK insists on it."""
    function = {"name": "weather", "arguments": ""}
    first = {"role": "assistant", "content": None, "tool_calls": [{"index": 0, "id": "call_1", "type": "function"}]}
    first["tool_calls"][0]["function"] = function
    parts = [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]} for text in ('{"city"', ':"Oslo"}')]
    frames = [upstreams.chunk(call.model, delta) for delta in [first, *parts]]
    return exchange.stream(frames + [upstreams.chunk(call.model, {}, "tool_calls")] + upstreams.tail(call))


def main(binary, *command):
    """Returns the exit code of the command."""
    upstreams.FAULTS["tools-with-role"] = tools_with_role
    upstream = upstreams.Upstream()
    with routers.Router(binary, upstream.url) as router:
        names = {"ROUTER_URL": router.url, "ROUTER_KEY": routers.KEY, "PROVIDER_URL": upstream.url}
        code = subprocess.run(command, env=os.environ | names, check=False).returncode
        if code:
            print(router.tail())
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
