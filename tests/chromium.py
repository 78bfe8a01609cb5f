"""A real Chromium for tests of pages, driven over a pipe by its DevTools protocol: keys, pointer, media, console, requests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

__all__ = ["CHROMIUM", "Page", "page"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
CODES = {
    "Enter": 13,
    "Escape": 27,
    "Tab": 9,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "PageDown": 34,
    "PageUp": 33,
    " ": 32,
}

Json = dict[str, Any]


class Page:
    """One tab. `faults` are errors of its scripts and of the console, `requests` addresses other than its own and data it holds."""

    def __init__(self, send: Callable[[bytes], object], receive: Callable[[], bytes]) -> None:
        self._send, self._receive = send, receive
        self._number, self._session = 0, ""
        self._loaded = False
        self.faults: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> Json:
        """Call a method of the protocol and return its result; what happens meanwhile is recorded."""
        self._number += 1
        message: Json = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._send(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> Json:
        message: Json = json.loads(self._receive())
        what, of = message.get("method"), message.get("params", {})
        if what == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(of["exceptionDetails"]))
        elif (what == "Runtime.consoleAPICalled" and of["type"] in ("error", "warning")) or (
            what == "Log.entryAdded" and of["entry"]["level"] in ("error", "warning")
        ):
            self.faults.append(json.dumps(of))
        elif what == "Network.requestWillBeSent":
            address = of["request"]["url"]
            if not address.startswith(("data:", "blob:")):
                self.requests.append(address)
        elif what == "Page.loadEventFired":
            self._loaded = True
        return message

    def attach(self) -> None:
        """Take the first tab."""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def open(
        self,
        file: Path,
        width: int = 1400,
        height: int = 900,
        colours: Literal["light", "dark"] = "light",
        at: str = "",
    ) -> None:
        """Load a file at this size of the window, in these colours, at this part (`#...`) of it."""
        self.resize(width, height)
        self.media(colours)
        self._loaded = False
        self.call("Page.navigate", url="about:blank")
        self._wait()
        self.requests.clear()
        self._loaded = False
        self.call("Page.navigate", url=file.as_uri() + at)
        self._wait()
        self.settle()

    def resize(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, colours: str, kind: str = "") -> None:
        self.call(
            "Emulation.setEmulatedMedia", media=kind, features=[{"name": "prefers-color-scheme", "value": colours}]
        )

    def _wait(self) -> None:
        while not self._loaded:
            self._next()

    def settle(self) -> None:
        """Wait for two frames, in which observers and pictures have had their turn."""
        self.run("new Promise((done) => setTimeout(() => requestAnimationFrame(() => setTimeout(done, 30)), 30))")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            shift = key.startswith("Shift+")
            name = key.removeprefix("Shift+")
            code = CODES.get(name, ord(name[0].upper()))
            text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
            shared: Json = {"key": name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **shared)
            self.call("Input.dispatchKeyEvent", type="keyUp", **shared)
        self.settle()

    def click(self, selector: str) -> None:
        """Click the middle of the first element that matches, with the pointer."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center', behavior: 'instant'}}); "
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        shared: Json = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
        self.call("Input.dispatchMouseEvent", type="mousePressed", **shared)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **shared)
        self.settle()

    def picture(self, path: Path, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as a PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(b64decode(answer["data"]))

    def _clip(self, whole: bool) -> Json:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def printed(self, path: Path) -> None:
        """Write the page as it is printed, as a PDF."""
        path.write_bytes(b64decode(self.call("Page.printToPDF")["data"]))


@contextmanager
def page(folder: Path) -> Generator[Page]:
    """A fresh browser with its profile in `folder`, ended afterwards."""
    assert CHROMIUM is not None
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()

    def joined() -> None:
        os.dup2(to_read, 13)  # two steps, in case a descriptor is 3 or 4 itself
        os.dup2(from_write, 14)
        os.dup2(13, 3)
        os.dup2(14, 4)

    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", "about:blank"]
    process = subprocess.Popen(
        command, preexec_fn=joined, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(from_write)
    with os.fdopen(to_write, "wb", buffering=0) as sink, os.fdopen(from_read, "rb", buffering=0) as source:
        rest = bytearray()

        def receive() -> bytes:
            while (end := rest.find(b"\0")) < 0:
                more = source.read(1 << 20)
                if not more:
                    raise RuntimeError("the browser ended")
                rest.extend(more)
            message = bytes(rest[:end])
            del rest[: end + 1]
            return message

        def send(message: bytes) -> None:
            view = memoryview(message)
            while view:
                view = view[sink.write(view) :]

        tab = Page(send, receive)
        try:
            tab.attach()
            yield tab
            tab._session = ""
            tab.call("Browser.close")
        finally:
            process.terminate()
            process.wait(30)
