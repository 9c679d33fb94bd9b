"""Upgrades and reloads under load, and what can go wrong with them: main.py BINARY [SCENARIO...].

One process: the provider (upstream.py), clients that never stop (clients.py, http2.py), and the router's processes
(fleet.py). Each scenario prints a line with its figures and whether they are as they must be.
"""

import asyncio
import sys
import tempfile
import time

import alone
import fleet
import scenarios
import secure
from upstream import Upstream

# With one router under load from beginning to end.
LOADED = {
    "ten": scenarios.ten,
    "config": scenarios.broken_config,
    "binary": scenarios.bad_binaries,
    "steps": scenarios.killed_at_steps,
    "random": scenarios.killed_at_random,
    "twice": scenarios.two_at_once,
    "back": scenarios.killed_while_draining,
    "old": scenarios.old_killed,
}
# With routers of their own; the first one takes as long as all of the above.
ALONE = {
    "limits": alone.limits,
    "disk": alone.full_disk,
    "idle": alone.idle,
    "tls": secure.upgrades,
    "stop": alone.stopped,
    "reload": alone.reloads,
}


async def loaded(stage, wanted):
    """The scenarios under load."""
    chosen = {name: act for name, act in LOADED.items() if name in wanted}
    if not chosen:
        return
    await stage.open(scenarios.STREAMS)
    for name, act in chosen.items():
        await stage.under_load(name, act)
    await stage.close()


async def main(binary, wanted):
    """Returns the exit code."""
    fleet.adopt_orphans()
    wanted = wanted or [*LOADED, *ALONE]
    upstream = Upstream()
    server = await upstream.start()
    stage = scenarios.Stage(binary, upstream)
    try:
        long = [stage.alone(name, ALONE[name]) for name in ("limits",) if name in wanted]
        await asyncio.gather(loaded(stage, wanted), *long)
        for name in ("disk", "idle", "tls", "stop", "reload"):
            if name in wanted:
                await stage.alone(name, ALONE[name])
    finally:
        fleet.end_all()
        server.close()
    print(f"upgrade: {stage.passed} passed, {stage.failed} failed, {time.monotonic() - stage.begun:.0f} s")
    return 1 if stage.failed else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="upgrade-", ignore_cleanup_errors=True) as tempfile.tempdir:
        CODE = asyncio.run(main(sys.argv[1], sys.argv[2:]))
    sys.exit(CODE)
