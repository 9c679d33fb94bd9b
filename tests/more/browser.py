"""Whether a browser shows the page /vhealth without scripts: browser.py BINARY CHROMIUM SCREENSHOT.

A headless Chromium loads the page of the demonstration with JavaScript off, tells its title and the text it laid out,
and takes a screenshot. It is driven over a pipe (Chrome DevTools Protocol), so it opens no port. Every name but
127.0.0.1 is resolved to nothing, so that nothing else is loaded.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from demo import Demo, end

SETTINGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--window-size=1200,900", "--remote-debugging-pipe",
]
TITLE = "3/3 available · Auto AI Router"


class Browser:
    """A headless browser; ended when the block ends."""

    def __init__(self, chromium):
        self.place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # The protocol's pipes are descriptors 3 and 4: the shell puts them there.
        command = ["sh", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "sh", chromium, *SETTINGS,
                   f"--user-data-dir={self.place.name}", "about:blank"]
        self.process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.out, self.buffered = os.fdopen(ours_out, "wb", buffering=0), b""
        self.inn, self.number, self.session = ours_in, 0, None

    def __enter__(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return self

    def __exit__(self, *_):
        end(self.process)
        self.out.close()
        os.close(self.inn)
        self.place.cleanup()

    def call(self, method, **params):
        """The result of a command; events that come between are passed over."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        self.out.write(json.dumps(message).encode() + b"\0")
        while (answer := self.message()).get("id") != self.number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def message(self):
        """The next message."""
        while b"\0" not in self.buffered:
            data = os.read(self.inn, 1 << 16)
            assert data, "the browser went away"
            self.buffered += data
        one, self.buffered = self.buffered.split(b"\0", 1)
        return json.loads(one)

    def laid_out(self):
        """Title and shown text of the page, as laid out; empty while there is none."""
        snapshot = self.call("DOMSnapshot.captureSnapshot", computedStyles=[])
        strings, document = snapshot["strings"], snapshot["documents"][0]
        shown = [strings[index] for index in document["layout"]["text"] if index >= 0]
        return strings[document["title"]] if document["title"] >= 0 else "", " ".join(shown)


def visit(browser, url):
    """Title and text of the page at `url`, with scripts off."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.call("Page.navigate", url=url)
    ends = time.monotonic() + 20
    title, text = browser.laid_out()
    while "demo-echo" not in text and time.monotonic() < ends:
        time.sleep(0.2)
        title, text = browser.laid_out()
    return title, text


def main(binary, chromium, image):
    """Raises when anything is wrong."""
    with Demo(binary) as demo, Browser(chromium) as browser:
        assert demo.chat("demo-echo") == 200
        title, text = visit(browser, f"{demo.url}/vhealth")
        assert title == TITLE, title
        print(f"browser the title is {title!r} ... ok")
        for word in ("demo-a", "demo-b", "demo-c", "demo-echo", "healthy"):
            assert word in text, f"{word} is not shown: {text[:500]}"
        print("browser credentials and models are shown ... ok")
        png = base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) > 10_000, len(png)
    pathlib.Path(image).write_bytes(png)
    print(f"browser screenshot, {len(png)} bytes: {image} ... ok")
    print("browser: passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
