"""Claude Code and Codex read a file and answer, through the router, at every dialect: `agents.py BINARY DIR`.

DIR is where npm has put both. Each agent has a home of its own, talks to nobody but the router, and must come back with
the word that the file has in it. The fake asks for the file by the tool that the agent offers for that.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import fleet as fleets
import router as routers

SECRET = "marzipan-%d" % os.getpid()
RUNS = [
    ("claude-code", "at-anthropic"),
    ("claude-code", "at-openai"),
    ("claude-code", "at-gemini"),
    ("codex", "at-openai"),
    ("codex", "at-anthropic"),
    ("codex", "at-gemini"),
]
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
CODEX = """
model_provider = "router"
check_for_update_on_startup = false
[model_providers.router]
name = "router"
base_url = "{url}"
env_key = "ROUTER_KEY"
wire_api = "responses"
"""


def claude_code(packages, home, url, model, prompt):
    """Its command, and what it finds around it. The wrapper finds the program without npm's install scripts."""
    del home
    program = packages / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    names = QUIET | {"ANTHROPIC_BASE_URL": url.removesuffix("/v1"), "ANTHROPIC_AUTH_TOKEN": routers.KEY}
    return ["node", program, "-p", prompt, "--model", model, "--allowedTools", "Read"], names


def codex(packages, home, url, model, prompt):
    """Its command, and what it finds around it. Without its sandbox, which is not to be had in every container."""
    (home / "config.toml").write_text(CODEX.format(url=url), encoding="utf-8")
    flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", model]
    names = {"CODEX_HOME": str(home), "ROUTER_KEY": routers.KEY}
    return ["node", packages / "@openai" / "codex" / "bin" / "codex.js", "exec", *flags, prompt], names


AGENTS = {"claude-code": claude_code, "codex": codex}


def the_agent_reads_a_file_and_answers(fleet, packages, agent, target):
    """Runs the agent, and returns what went wrong."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as work:
        note = pathlib.Path(work, "note.txt")
        note.write_text(SECRET, encoding="utf-8")
        command, names = AGENTS[agent](packages, pathlib.Path(home), fleet.inner.url, target.name, f"do:run[{note}]")
        names |= {"PATH": os.environ["PATH"], "HOME": home}
        before = len(fleet.fakes[target.provider].calls)
        try:
            run = subprocess.run(
                command,
                cwd=work,
                env=names,
                stdin=subprocess.DEVNULL,
                text=True,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=90,
            )
        except subprocess.TimeoutExpired as late:
            return f"no answer in 90 s: {late.stdout}"
        calls = [call for call in fleet.fakes[target.provider].calls[before:] if call.mark == "run"]
        refused = [call.refused for call in fleet.fakes[target.provider].calls[before:] if hasattr(call, "refused")]
    if run.returncode or SECRET not in run.stdout or len(calls) < 2 or refused:
        return f"exit {run.returncode}, {len(calls)} calls, refused: {refused}\n{run.stdout[-3000:]}"
    return None


def main(binary, packages):
    """Runs every agent at its providers."""
    targets = {target.name: target for target in fleets.PLACES}
    failed = 0
    with fleets.Fleet(binary) as fleet:
        for agent, name in RUNS:
            began = time.monotonic()
            wrong = the_agent_reads_a_file_and_answers(fleet, pathlib.Path(packages).resolve(), agent, targets[name])
            failed += bool(wrong)
            print(
                f"{agent} {name} {time.monotonic() - began:.1f} s ... {'FAILED: ' + wrong if wrong else 'ok'}",
                flush=True,
            )
        if failed:
            print(fleet.inner.tail())
    print(f"agents: {len(RUNS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
