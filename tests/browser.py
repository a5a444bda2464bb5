"""A headless Chromium that tests drive over its DevTools protocol."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
)

LOADED = """new Promise(done => {
  const pictures = () => [...document.images].filter(image => image.getAttribute("src"));
  const wait = () => {
    pictures().forEach(image => { image.loading = "eager"; });
    Promise.all(pictures().map(image => image.decode().catch(() => 0))).then(() => done(true));
  };
  document.readyState === "complete" ? wait() : addEventListener("load", wait);
})"""
"""Lazy pictures would otherwise be missing until somebody scrolls to them."""


class Page:
    """One page of the browser, and what it complained of."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._events.append(message)

    def show(self, file: Path, *, width: int = 1280, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Open a file and wait until all its pictures are there."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.send("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._events.clear()
        self.send("Page.navigate", url=file.resolve().as_uri())
        self.ask(LOADED)

    def ask(self, script: str) -> Any:
        """The value of an expression, awaited."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Exceptions, console errors, and what could not be loaded or was to be loaded from elsewhere than files."""
        found = []
        for event in self._events:
            kind, told = event.get("method"), event.get("params", {})
            if kind in ("Runtime.exceptionThrown", "Network.loadingFailed") or (
                kind == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning")
            ):
                found.append(json.dumps(told))
            if kind == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(told))
            if kind == "Network.requestWillBeSent" and not told["request"]["url"].startswith(("file:", "data:")):
                found.append(told["request"]["url"])
        return found

    def picture(self, out: Path, *, whole: bool = False) -> None:
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        out.write_bytes(base64.b64decode(data))


@contextmanager
def opened() -> Iterator[Page]:
    """A browser with a profile of its own, closed at the end."""
    assert PROGRAM
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, **quiet, env={**os.environ, "HOME": profile})  # type: ignore[call-overload]
        try:
            port = _port(Path(profile) / "DevToolsActivePort", process)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [target for target in json.load(answer) if target["type"] == "page"]
            yield Page(pages[0]["webSocketDebuggerUrl"])
        finally:
            process.terminate()
            process.wait(20)


def _port(file: Path, process: "subprocess.Popen[bytes]") -> int:
    for _ in range(300):
        if file.is_file() and (text := file.read_text()).count("\n"):
            return int(text.splitlines()[0])
        assert process.poll() is None, f"{PROGRAM} ended with {process.returncode}"
        time.sleep(0.1)
    raise TimeoutError(f"{PROGRAM} opened no port within 30 s")
