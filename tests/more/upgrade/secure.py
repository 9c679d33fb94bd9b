"""Upgrades under clients that speak TLS: their connections cannot move, and nobody may lose a request by that."""

import asyncio
import logging
import pathlib
import ssl
import subprocess
import tempfile
import time

import clients
import fleet
import http2
from scenarios import must, plain_config, until

UPGRADES = 5


def certificate():
    """One for this host, and its key."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="upgrade-tls-"))
    files = place / "certificate.pem", place / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=localhost", "-days", "1", "-out", files[0], "-keyout", files[1]],
                   check=True, stderr=subprocess.DEVNULL)
    return files


def context(version):
    """What a client needs."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols(["h2" if version == 2 else "http/1.1"])
    return made


async def upgrades(stage):
    """Several upgrades; clients keep their connections for up to 8 s between two requests, longer than an upgrade takes."""
    # Each write behind the end of a connection would be a line.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    plain, (chain, key) = fleet.free_port(), certificate()
    server = f', listen: [{{address: "127.0.0.1:{plain}", tls: false}}], tls: {{certificate: {chain}, key: {key}}}'
    router = fleet.Router(stage.binary, plain_config(stage.upstream.url), server=server)
    router.plain = plain
    await router.start()
    clients.TLS.update({(router.port, version): context(version) for version in (1, 2)})
    load = clients.Load(router.port)
    load.start(clients.fresh, 2, "fresh", 0.05)
    load.start(clients.kept, 4, "kept without pause", 0.01)
    load.start(clients.kept, 24, "kept", 2)
    load.start(clients.kept, 24, "kept for long", 8)
    load.start(clients.slow, 2, "slow chat of 1 MB", 1 << 20, 2)
    load.start(clients.streams, 12, "stream", 20)
    shared = http2.Shared()
    load.start(http2.multiplexed, 6, "HTTP/2", shared, 0.5)
    load.start(http2.multiplexed, 6, "HTTP/2 stream", shared, 0.5, 20)
    await asyncio.sleep(3)
    for _ in range(UPGRADES):
        must((await router.upgrade())[0] == 0, "not upgraded")
        await asyncio.sleep(2.5)
    begun = time.monotonic()
    await until(lambda: len(router.processes()) == 1, "more than one process is left", 75)
    gone = time.monotonic() - begun
    await load.stop()
    moved, lost = load.tally.moved, load.tally.lost
    must(not lost, f"{len(lost)} lost: {lost[:3]}")
    must(not moved["closed while idle"] and moved["asked to close"], dict(moved))
    router.end()
    return (f"{UPGRADES} upgrades, {sum(load.tally.got.values())} requests over TLS, 0 lost; "
            f"{moved['asked to close']} connections closed behind an answer, none while idle; "
            f"the last of the old processes gone after {gone:.1f} s")
