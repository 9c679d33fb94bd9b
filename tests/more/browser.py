"""Whether a browser shows the page /vhealth, and to everybody: browser.py BINARY CHROMIUM AXE DIRECTORY.

A headless Chromium loads the page with JavaScript off and on, in both themes, as wide as a desk and as narrow as a
phone; sees it change while requests are served; logs in and out; and lets axe-core (AXE, its script) look for what keeps
people out. Screenshots go to DIRECTORY. The browser is driven over a pipe (Chrome DevTools Protocol), so it opens no port.
Every name but 127.0.0.1 is resolved to nothing, so that nothing else is loaded.
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
from router import KEY, Router

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


HOSTILE = "<img src=x onerror=boom()>"
CREDENTIALS = """
  - name: "<img src=x onerror=boom()>"
    api_key: sk-upstream-red-0123456789
    base_url: http://127.0.0.1:9
    rpm: 100
    tpm: 100000
    models: ["</td><b>model"]
  - name: blue
    api_key: sk-upstream-blue-0123456789
    base_url: http://127.0.0.1:9
    is_fallback: true
models:
  - name: "</td><b>model"
    rpm: 50
"""
# What a page does that its policy forbids is noted.
WITNESS = "window.forbidden = []; document.addEventListener('securitypolicyviolation', e => forbidden.push(e.blockedURI))"


def wait(what, look, limit=20):
    """The first answer of `look` that is not empty."""
    ends = time.monotonic() + limit
    while not (seen := look()):
        assert time.monotonic() < ends, f"{what}: not seen in {limit} s"
        time.sleep(0.1)
    print(f"browser {what} ... ok", flush=True)
    return seen


class Page:
    """A page with scripts on."""

    def __init__(self, browser, directory, axe):
        self.browser, self.directory, self.axe = browser, directory, axe
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        browser.call("Page.enable")
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=WITNESS)

    def open(self, url):
        self.browser.call("Page.navigate", url=url)
        wait(f"{url.rsplit('/', 1)[-1]} is loaded", lambda: self.run("document.readyState") == "complete")

    def run(self, expression):
        """The value of an expression, or of its promise."""
        result = self.browser.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def text(self):
        return self.run("document.body?.innerText ?? ''")

    def judged(self, name):
        """Looks at the page in both themes, wide and narrow; axe finds nothing, and nothing but tables is scrolled."""
        for theme in "light", "dark":
            media = [{"name": "prefers-color-scheme", "value": theme}]
            self.browser.call("Emulation.setEmulatedMedia", features=media)
            for width in 1200, 320:
                self.browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                                  mobile=False)
                self.run(self.axe)
                found = self.run("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map("
                                 "v => v.id + ': ' + v.nodes.map(n => n.html + n.failureSummary).join('\\n')))")
                assert found == [], "\n".join(found)
                wide = self.run("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} wide in a window of {width}"
                self.shot(f"{name}-{theme}-{width}.png")
        print(f"browser {name}: axe {self.run('axe.version')} finds nothing, light and dark, wide and narrow ... ok")
        assert self.run("forbidden") == [], self.run("forbidden")

    def shot(self, name):
        png = base64.b64decode(self.browser.call("Page.captureScreenshot", format="png")["data"])
        assert png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) > 5_000, len(png)
        (self.directory / name).write_bytes(png)


def without_scripts(browser, demo):
    """The page is complete."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.call("Page.navigate", url=f"{demo.url}/vhealth")
    title, text = wait("the page without scripts",
                       lambda: seen if "demo-echo" in (seen := browser.laid_out())[1] else None)
    assert title == TITLE, title
    for word in ("demo-a", "demo-b", "demo-c", "healthy", "Would be tried", "Recent errors", "loaded anew every 10 s"):
        assert word in text, f"{word} is not shown: {text[:500]}"


def live(page, demo):
    """What changes is seen without loading the page again, and what somebody has opened or chosen stays."""
    page.open(f"{demo.url}/vhealth")
    wait("it is live", lambda: "Live" in page.text())
    page.run("window.same = 1; document.querySelector('input[type=search]').focus()")
    for _ in range(6):
        demo.chat("demo-flaky")
    wait("an error is told", lambda: "503" in page.text() or "500" in page.text() or "429" in page.text())
    wait("answers are counted", lambda: page.run("document.querySelectorAll('.spark path').length > 0"))
    assert page.run("window.same") == 1, "the page was loaded again"
    assert page.run("document.activeElement.type") == "search", "the focus was taken away"
    page.judged("vhealth")


def sessions(page, binary):
    """A key opens the page, a name is text, and logging out closes it."""
    with Router(binary, "", CREDENTIALS) as router:
        url = router.url.removesuffix("/v1") + "/vhealth"
        page.open(url)
        assert page.run("document.querySelector('#key').type") == "password"
        page.judged("login")
        show = "document.querySelector('#key').value = '{}'; document.querySelector('form').submit()"
        page.run(show.format("sk-wrong"))
        wait("a wrong key is refused", lambda: "no key of this router" in page.text())
        page.run(show.format(KEY))
        wait("a key opens the page", lambda: HOSTILE in page.text())
        assert page.run("document.cookie") == "", "scripts can read the cookie"
        assert "</td><b>model" in page.text() and page.run("document.querySelectorAll('img, b').length") == 0
        wait("it is live behind a key", lambda: "Live" in page.text())
        page.judged("hostile")
        page.run("document.querySelector('form[method=post]').requestSubmit()")
        wait("logging out closes it", lambda: page.run("!!document.querySelector('#key')"))


def main(binary, chromium, axe, directory):
    """Raises when anything is wrong."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with Browser(chromium) as browser:
        with Demo(binary) as demo:
            assert demo.chat("demo-echo") == 200
            without_scripts(browser, demo)
            page = Page(browser, directory, pathlib.Path(axe).read_text(encoding="utf-8"))
            live(page, demo)
        sessions(page, binary)
    print(f"browser: passed, screenshots in {directory}")


if __name__ == "__main__":
    main(*sys.argv[1:])
