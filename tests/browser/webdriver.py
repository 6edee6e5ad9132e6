"""Browsers under remote control, with nothing but Python: Chromium by chromedriver (WebDriver over HTTP), Firefox by its
own Marionette (the protocol below geckodriver: https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html),
which reaches the browser's own windows, too, such as the PIN prompt.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class BrowserError(Exception):
    """What the browser answers instead of a result."""


def wait_for(what, condition, seconds=60):
    """The first true value of condition(). The limit is for what hangs, not for a slow machine."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.05)
    return value


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Browser:
    """What the scenarios need of either browser."""

    process = None

    def spawn(self, command, log, **environment):
        self.log_path = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **environment}, start_new_session=True)

    def stop(self):
        """Ends the browser and whatever it started."""
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def click(self, css):
        self.command_click(self.find(css))

    def fill(self, css, text):
        self.js("const field = document.querySelector(arguments[0]); field.value = arguments[1]", css, text)

    def text(self, css):
        """The element's text; None if there is none."""
        return self.js("return document.querySelector(arguments[0])?.textContent ?? null", css)

    def path(self):
        return self.js("return location.pathname + location.search")

    def save_screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.screenshot()))


class Chromium(Browser):
    name = "chromium"

    def __init__(self, folder, size=(1000, 760), display=None):
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.spawn(["chromedriver", f"--port={port}"], os.path.join(folder, "chromium.log"),
                   **({"DISPLAY": display} if display else {}))
        wait_for("chromedriver", self.is_ready)
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     "--disable-dev-shm-usage", "--disable-extensions", f"--user-data-dir={folder}/chromium",
                     f"--window-size={size[0]},{size[1]}", "--window-position=0,0",
                     "--enable-logging=stderr", "--vmodule=*fido*=3"]
        if not display:
            arguments.append("--headless=new")
        capabilities = {"browserName": "chrome", "unhandledPromptBehavior": "ignore",
                        "goog:chromeOptions": {"args": arguments, "binary": "/usr/bin/chromium"},
                        "timeouts": {"script": 300000, "pageLoad": 300000}}
        self.session = ""
        self.session = "/session/" + self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]

    def is_ready(self):
        try:
            return self.call("GET", "/status")["ready"]
        except OSError:
            return False

    def call(self, method, path, body=None):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise BrowserError(json.load(error)["value"]["message"].split("\n")[0]) from None

    def goto(self, url):
        self.call("POST", self.session + "/url", {"url": url})

    def js(self, script, *arguments):
        return self.call("POST", self.session + "/execute/sync", {"script": script, "args": arguments})

    def find(self, css):
        found = self.call("POST", self.session + "/element", {"using": "css selector", "value": css})
        return found[ELEMENT]

    def command_click(self, element):
        self.call("POST", f"{self.session}/element/{element}/click")

    def screenshot(self):
        return self.call("GET", self.session + "/screenshot")


class Firefox(Browser):
    name = "firefox"

    def __init__(self, folder, size=(1000, 760), display=None):
        port = free_port()
        profile = os.path.join(folder, "firefox")
        os.makedirs(profile, exist_ok=True)
        preferences = {
            "marionette.port": port,
            "security.webauth.webauthn_enable_usbtoken": True,
            "security.webauth.webauthn_enable_softtoken": False,
            "browser.shell.checkDefaultBrowser": False,
            "browser.startup.homepage_override.mstone": "ignore",
            "browser.aboutwelcome.enabled": False,
            "datareporting.policy.dataSubmissionEnabled": False,
            "toolkit.telemetry.reportingpolicy.firstRun": False,
            "app.update.enabled": False,
            "browser.safebrowsing.malware.enabled": False,
            "browser.safebrowsing.phishing.enabled": False,
            "network.captive-portal-service.enabled": False,
            "network.connectivity-service.enabled": False,
            "extensions.getAddons.cache.enabled": False,
            "services.settings.server": "http://127.0.0.1:1/",
            "signon.rememberSignons": False,
            # A prompt's button works at once, not only after the user has had time to read.
            "security.notification_enable_delay": 0,
            "security.dialog_enable_delay": 0,
        }
        with open(os.path.join(profile, "user.js"), "w") as file:
            for name, value in preferences.items():
                file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
        command = ["firefox-esr", "--no-remote", "--profile", profile, "--marionette", "--remote-allow-system-access",
                   "--width", str(size[0]), "--height", str(size[1])]
        if not display:
            command.append("--headless")
        self.spawn(command, os.path.join(folder, "firefox.log"), RUST_LOG="authenticator=debug", MOZ_CRASHREPORTER_DISABLE="1",
                   **({"DISPLAY": display} if display else {}))
        self.socket = wait_for("Firefox", lambda: self.connect(port), 180)
        self.buffer = b""
        self.receive()
        self.number = 0
        self.context = "content"
        self.call("WebDriver:NewSession", {
            "pageLoadStrategy": "normal", "unhandledPromptBehavior": "ignore",
            "timeouts": {"script": 300000, "pageLoad": 300000}})

    @staticmethod
    def connect(port):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=300)
        except OSError:
            return None

    def receive(self):
        while b":" not in self.buffer:
            self.more()
        length, _, rest = self.buffer.partition(b":")
        self.buffer = rest
        while len(self.buffer) < int(length):
            self.more()
        message, self.buffer = self.buffer[:int(length)], self.buffer[int(length):]
        return json.loads(message)

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise BrowserError("Firefox closed the connection")
        self.buffer += data

    def call(self, name, parameters=None):
        self.number += 1
        message = json.dumps([0, self.number, name, parameters or {}]).encode()
        self.socket.sendall(str(len(message)).encode() + b":" + message)
        _, number, error, result = self.receive()
        assert number == self.number, "an answer to another command"
        if error:
            raise BrowserError(f"{error['error']}: {error['message']}")
        return result.get("value", result) if isinstance(result, dict) else result

    def switch(self, context):
        if context != self.context:
            self.call("Marionette:SetContext", {"value": context})
            self.context = context

    def goto(self, url):
        self.switch("content")
        self.call("WebDriver:Navigate", {"url": url})

    def js(self, script, *arguments):
        self.switch("content")
        return self.call("WebDriver:ExecuteScript", {"script": script, "args": arguments})

    def chrome_js(self, script, *arguments):
        """Runs a script with the browser's own rights, in its window."""
        self.switch("chrome")
        return self.call("WebDriver:ExecuteScript", {"script": script, "args": arguments, "sandbox": "system"})

    def find(self, css):
        self.switch("content")
        return self.call("WebDriver:FindElement", {"using": "css selector", "value": css})[ELEMENT]

    def command_click(self, element):
        self.switch("content")
        self.call("WebDriver:ElementClick", {"id": element})

    def screenshot(self):
        self.switch("content")
        return self.call("WebDriver:TakeScreenshot", {"full": False})
