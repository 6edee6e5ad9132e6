"""scenarios.py BINARIES BROWSER OUT [CHECK…]: a person at the IAM stand-in with the key, in Chromium or Firefox.

Runs in the guest as root. Prints a line for each check, `ok BROWSER-NAME` or `FAILED BROWSER-NAME: why`, and the table of
WebAuthn options; leaves screenshots, the table and the recorded ceremonies in OUT. Exit status: 0 if nothing failed.
"""

import base64
import os
import sys
import tempfile
import time

from webdriver import BrowserError, Chromium, Firefox, wait_for
from world import Console, Key, Screen, set_pin, step_now, totp

SIZE = (1000, 760)
PIN = "2580"
ROOT, ADA, BOB = "root", "ada", "bob"

# What the page shows where a browser tells it nothing more: WebAuthn §14.5.
NOT_ALLOWED = "NotAllowedError"


class ChromiumWindow:
    """Chromium's dialogs are no part of the page: they are seen on the screen and worked by the keyboard."""

    # A dialog's first button, with and without the focus. A dialog that asks for a touch has none, and its "Cancel" has
    # the focus: Return would be wrong there.
    BUTTON = [(11, 87, 208), (13, 80, 187)]
    WHERE = (600, 300, 724, 460)

    def __init__(self, folder):
        self.screen = Screen(folder, SIZE)
        self.browser = Chromium(folder, SIZE, self.screen.name)
        # When a dialog was answered that may still be on the screen.
        self.answered = None
        # Whether a PIN is to be set up, in a dialog with two fields.
        self.new_pin = False

    def has_button(self):
        """Whether a dialog is shown that wants more than a touch, and has not been answered. One that is still there long
        after the answer was not ready for it."""
        if self.screen.count(self.BUTTON, self.WHERE) < 300:
            self.answered = None
            return False
        return self.answered is None or time.monotonic() > self.answered + 20

    def prepare(self, pin):
        pass

    def attend(self, pin):
        """Enters a PIN where it is asked for."""
        if pin and self.has_button():
            self.screen.keys("key", "ctrl+a")
            self.screen.keys("type", pin)
            if self.new_pin:
                self.screen.keys("key", "Tab")
                self.screen.keys("type", pin)
            self.screen.keys("key", "Return")
            self.answered = time.monotonic()

    def says_why(self):
        """Whether a dialog says what went wrong. The page is told when the user has closed it."""
        return self.has_button()

    def dismiss(self):
        self.screen.keys("key", "Escape")
        self.answered = time.monotonic()

    def picture(self):
        return self.screen.png()

    def stop(self):
        self.browser.stop()
        self.screen.stop()


class FirefoxWindow:
    """Firefox's prompts belong to its window, which Marionette reaches; but while a PIN is asked for, Marionette obeys
    nobody. So a script in that window attends to the prompts by itself."""

    SCRIPT = """
        const state = window.attending = { pins: [], prompts: [] };
        window.setInterval(() => {
            const panel = document.querySelector('#notification-popup popupnotification');
            if (panel?.id == 'webauthn-prompt-register-direct-notification') panel.button.click();
            const box = gBrowser.getTabDialogBox(gBrowser.selectedBrowser);
            const dialogs = [box.getTabDialogManager(), box.getContentDialogManager()].flatMap(one => one._dialogs);
            for (const { _frame } of dialogs) {
                const page = _frame?.contentDocument;
                const field = page?.getElementById('password1Textbox');
                const dialog = page?.getElementById('commonDialog');
                if (!field || !dialog?.acceptDialog || !state.pins.length) continue;
                // One that was answered and is still there after a while was not ready for the answer.
                if (Date.now() - (page.answered ?? 0) < 5000) continue;
                if (!page.answered) {
                    state.prompts.push(page.getElementById('infoBody').textContent);
                    page.pin = state.pins.length > 1 ? state.pins.shift() : state.pins[0];
                }
                page.answered = Date.now();
                field.value = page.pin;
                dialog.acceptDialog();
            }
        }, 200);"""

    def __init__(self, folder):
        self.browser = Firefox(folder, SIZE)
        self.browser.chrome_js(self.SCRIPT)

    def prepare(self, pin):
        """The PIN, or several to be tried in turn, for the prompts that come."""
        pins = pin if isinstance(pin, list) else [pin] if pin else []
        self.browser.chrome_js("window.attending.pins = arguments[0]; window.attending.prompts = []", pins)

    def prompts(self):
        """The texts of the PIN prompts since then."""
        return self.browser.chrome_js("return window.attending.prompts")

    def attend(self, pin):
        pass

    def says_why(self):
        return False  # It tells the page at once.

    def dismiss(self):
        pass

    def picture(self):
        return base64.b64decode(self.browser.screenshot())

    def stop(self):
        self.browser.stop()


class Scenarios:
    def __init__(self, binaries, name, out):
        self.name, self.out, self.binaries = name, out, binaries
        self.folder = tempfile.mkdtemp()
        self.failed = 0
        self.console = Console(f"{binaries}/brasskey-iam-console", f"{out}/ceremonies-{name}.jsonl")
        self.url = self.console.url
        self.key = None
        self.plug("first")
        start = time.monotonic()
        self.window = {"chromium": ChromiumWindow, "firefox": FirefoxWindow}[name](self.folder)
        self.browser = self.window.browser
        self.browser.goto(self.url)
        print(f"{name} was up after {time.monotonic() - start:.0f} s", flush=True)

    def stop(self):
        self.window.stop()
        self.key.unplug()
        self.console.stop()

    def check(self, scenario):
        name = f"{self.name}-{scenario.__name__.replace('_', '-')}"
        start = time.monotonic()
        try:
            scenario()
        except Exception as error:  # Each check stands alone; what it left behind may fail others.
            self.failed += 1
            print(f"FAILED {name}: {type(error).__name__} {error}".replace("\n", " ")[:500], flush=True)
            self.key.finger = "grant"
            try:
                self.shoot(f"failed-{scenario.__name__}")
                self.window.dismiss()
            except BrowserError as error:
                print(f"   no picture: {error}"[:200], flush=True)
        else:
            print(f"ok {name}", flush=True)
        print(f"   {time.monotonic() - start:.0f} s", flush=True)

    def shoot(self, name):
        picture = self.window.picture()
        with open(f"{self.out}/{self.name}-{name}.png", "wb") as file:
            file.write(picture)

    # The key

    def plug(self, image):
        if self.key:
            self.key.unplug()
        self.key = Key(f"{self.binaries}/brasskey", f"{self.folder}/{image}.img")

    # The pages

    def sign_in(self, user):
        """The password. Returns the page that follows."""
        self.browser.goto(self.url + "/signin")
        if self.browser.text("#sign-out"):
            self.browser.click("#sign-out")
            wait_for("the sign-in page", lambda: self.browser.text("#root"))
        if user == ROOT:
            self.browser.fill("#root [name=email]", "root@example.com")
            form = "#root"
        else:
            self.browser.fill("#iam [name=user]", user)
            form = "#iam"
        self.browser.fill(f"{form} [name=password]", f"{user}-demo-password")
        self.submit(form)
        return self.browser.path()

    def submit(self, form):
        """Clicks a form's button and waits for the next page."""
        self.browser.js("window.isOld = true")
        self.browser.click(f"{form} button")
        self.next_page()

    def next_page(self):
        def is_new():
            try:
                return self.browser.js("return !window.isOld && document.readyState === 'complete'")
            except BrowserError:
                return False  # Between two pages.
        wait_for("the next page", is_new)

    def select(self, kind, name):
        """The wizard's first step, on the page of the user whose device it is."""
        self.browser.js("window.isOld = true")
        self.browser.click("#assign")
        self.next_page()
        self.browser.fill("#select [name=name]", name)
        self.browser.js("document.querySelector(`#select [value=${arguments[0]}]`).checked = true", kind)
        self.submit("#select")

    def ceremony(self, pin=None, refused=False, picture=None):
        """Clicks, and waits for what comes of it: the text of an error, or "" and the next page.

        refused: the key will refuse, and the browser may have something to say to the user before it tells the page.
        picture: the name of a screenshot of that."""
        browser, asked = self.browser, len(self.key.asked)
        self.window.prepare(pin)
        browser.js("window.isOld = true")
        browser.click("#ceremony")
        untouched = None

        def outcome():
            nonlocal untouched
            try:
                if browser.js("return !window.isOld && document.readyState === 'complete'"):
                    return [""]
                if text := browser.text("#status"):
                    return [text]
            except BrowserError:
                return None  # Between two pages, or a prompt is shown.
            if not refused:
                self.window.attend(pin)
                return None
            if self.key.finger == "ignore" and untouched is None and len(self.key.asked) > asked:
                # Half a minute is what the key waits.
                untouched = time.monotonic() + 35
            if self.window.says_why() or (untouched is not None and time.monotonic() > untouched):
                if picture:
                    self.shoot(picture)
                self.window.dismiss()
            return None
        return wait_for("the ceremony's end", outcome, 180)[0]

    def sign_in_with_key(self, user, **ceremony):
        assert self.sign_in(user) == "/signin/mfa", self.browser.path()
        return self.ceremony(**ceremony)

    def assert_in_console_with_mfa(self, error):
        assert error == "", error
        assert "(with MFA)" in (self.browser.text("#who") or ""), self.browser.path()

    def assert_refused(self, error, expected=NOT_ALLOWED):
        assert error.startswith(expected), error
        self.browser.goto(self.url + "/console")
        assert self.browser.path() != "/console", "signed in nonetheless"

    def credentials_page(self):
        self.browser.goto(self.url + "/iam/security-credentials")

    def devices(self):
        return self.browser.text("#devices")

    def assign_key(self, name, **ceremony):
        self.select("key", name)
        return self.ceremony(**ceremony)

    # The checks

    def run(self, only):
        scenarios = [
            self.assign_as_root, self.sign_in_as_root, self.assign_as_iam_user, self.sign_in_as_iam_user,
            self.excluded_key, self.touch_denied, self.touch_timed_out, self.certification_refused,
            self.wrong_key_refused, self.second_key, self.eight_devices, self.remove,
            self.authenticator_app, self.options_without_pin, self.required_without_pin, self.set_up_a_pin,
            self.options_with_pin,
        ]
        if self.name == "firefox":
            scenarios.append(self.wrong_pin_then_right)
        for scenario in scenarios:
            if not only or scenario.__name__ in only:
                self.check(scenario)

    def assign_as_root(self):
        assert self.sign_in(ROOT) == "/console"
        self.browser.goto(self.url + "/iam")
        assert "Add MFA for root user" in self.browser.text("#recommendation")
        self.shoot("dashboard")
        self.credentials_page()
        self.select("key", "my-brasskey")
        self.shoot("register")
        error = self.ceremony()
        assert error == "", error
        assert "attestation packed" in self.devices(), self.devices()
        self.shoot("assigned")

    def sign_in_as_root(self):
        assert self.sign_in(ROOT) == "/signin/mfa"
        self.shoot("second-factor")
        self.assert_in_console_with_mfa(self.ceremony())
        self.shoot("signed-in")

    def assign_as_iam_user(self):
        assert self.sign_in(BOB) == "/console"
        self.credentials_page()
        error = self.assign_key("first")
        assert error == "", error
        assert "1 of 8" in self.browser.text("main")

    def sign_in_as_iam_user(self):
        self.assert_in_console_with_mfa(self.sign_in_with_key(BOB))

    def excluded_key(self):
        self.credentials_page()
        error = self.assign_key("again", refused=True, picture="excluded")
        assert error.startswith("InvalidStateError"), error
        self.credentials_page()
        assert "again" not in self.devices()

    def touch_denied(self):
        self.key.finger = "deny"
        asked = len(self.key.asked)
        error = self.sign_in_with_key(BOB, refused=True, picture="denied")
        assert len(self.key.asked) > asked, "the key was not asked"
        self.assert_refused(error)
        self.key.finger = "grant"

    def touch_timed_out(self):
        self.key.finger = "ignore"
        asked = len(self.key.asked)
        self.assert_refused(self.sign_in_with_key(BOB, refused=True, picture="timed-out"))
        assert len(self.key.asked) > asked, "the key was not asked"
        self.key.finger = "grant"
        self.assert_in_console_with_mfa(self.sign_in_with_key(BOB))

    def settings(self, **settings):
        self.browser.goto(self.url + "/settings")
        for name, value in settings.items():
            self.browser.fill(f"#settings [name={name}]", value)
        self.submit("#settings")

    def certification_refused(self):
        self.settings(certification="L1")
        assert self.sign_in(ADA) == "/console"
        self.credentials_page()
        error = self.assign_key("uncertified")
        assert "is not authorized to perform: iam:EnableMFADevice" in error, error
        self.shoot("uncertified")
        self.settings(certification="")

    def wrong_key_refused(self):
        self.plug("second")
        self.assert_refused(self.sign_in_with_key(BOB, refused=True, picture="wrong-key"))

    def second_key(self):
        """An administrator assigns it; either key signs in then."""
        assert self.sign_in(ADA) == "/console"
        self.browser.goto(self.url + "/iam/users/bob")
        error = self.assign_key("second")
        assert error == "", error
        self.assert_in_console_with_mfa(self.sign_in_with_key(BOB))

    def assign_app(self, name):
        self.credentials_page()
        self.select("app", name)
        secret, step = self.browser.text("#secret"), step_now()
        self.browser.fill("[name=first]", totp(secret, step - 1))
        self.browser.fill("[name=second]", totp(secret, step))
        self.submit("#codes")
        return secret, step

    def assign_app_unseen(self, name):
        """The same without the pages, which take time."""
        def post(path, fields):
            self.browser.js("""
                window.answer = null;
                fetch(arguments[0], { method: "POST", body: new URLSearchParams(arguments[1]) })
                    .then(async (response) => window.answer = await response.text());""", path, fields)
            return wait_for(path, lambda: self.browser.js("return window.answer"))
        page = post("/iam/mfa/assign", {"user": BOB, "name": name, "type": "app"})
        secret, step = page.partition('id="secret">')[2].partition("<")[0], step_now()
        post("/iam/mfa/app", {"first": totp(secret, step - 1), "second": totp(secret, step)})

    def eight_devices(self):
        # Bob has two keys.
        for index in range(5):
            self.assign_app_unseen(f"app-{index}")
        self.credentials_page()
        self.select("token", "token")
        # RFC 6238's secret, the stand-in's first token.
        secret, step = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", step_now()
        self.browser.fill("[name=serial]", "GADA00000001")
        self.browser.fill("[name=first]", totp(secret, step - 1))
        self.browser.fill("[name=second]", totp(secret, step))
        self.submit("#codes")
        assert "8 of 8" in self.browser.text("main")
        self.shoot("eight-devices")
        self.select("key", "ninth")
        assert "quota" in self.browser.text("#refusal")

    def remove(self):
        self.credentials_page()
        self.submit("[data-device=first]")
        assert "MFA device first removed" in self.browser.text("#notice")
        self.plug("first")
        self.assert_refused(self.sign_in_with_key(BOB, refused=True))

    def authenticator_app(self):
        assert self.sign_in(ADA) == "/console"
        secret, step = self.assign_app("phone")
        assert self.sign_in(ADA) == "/signin/mfa"

        def enter(step):
            self.browser.fill("#code [name=code]", totp(secret, step))
            self.submit("#code")
        enter(step)
        assert "used before" in self.browser.text("#refusal")
        self.browser.goto(self.url + "/signin/mfa")
        # It may be the current one by now, or a little early: both are taken.
        enter(step + 1)
        self.assert_in_console_with_mfa("")

    # The test bench

    def bench(self, rows, pin=None, refused=False):
        """Runs rows of the bench: a list of (options, state, text)."""
        self.browser.goto(self.url + "/bench")
        self.window.prepare(pin)
        done = []
        for options in rows:
            css = "#bench tr" + "".join(f"[data-{name}='{value}']" for name, value in options.items())
            self.browser.js("document.querySelector(arguments[0] + ' button').click()", css)
            start = time.monotonic()

            def state():
                try:
                    state = self.browser.js("return document.querySelector(arguments[0]).dataset.state", css)
                    if state != "running":
                        return state
                except BrowserError:
                    return None  # A prompt is shown.
                if not refused:
                    self.window.attend(pin)
                elif self.window.says_why():
                    self.window.dismiss()
                return None
            state = wait_for(str(options), state, 120)
            text = self.browser.js("return document.querySelector(arguments[0] + ' .result').textContent", css)
            done.append((options, state, text))
            with open(f"{self.out}/options-{self.name}.txt", "a") as file:
                line = " | ".join(["PIN" if pin else "no PIN", *options.values(), text])
                file.write(line + "\n")
            print(f"   {self.name} | {line} | {time.monotonic() - start:.0f} s", flush=True)
        return done

    @staticmethod
    def combinations(verifications):
        return [
            {"user-verification": verification, "attestation": attestation, "resident-key": resident_key,
             "algorithms": algorithms}
            for verification in verifications
            for attestation in ("direct", "none")
            for resident_key in ("discouraged", "preferred")
            for algorithms in ("es256", "es256-rs256")]

    def expect(self, done, created, signed_in):
        """All passed, with the attestation that was asked for, and user verified or not at either ceremony."""
        for options, state, text in done:
            attestation = "packed" if options["attestation"] == "direct" else "none"
            first, second = ("UV" if by_pin(options) else "no UV" for by_pin in (created, signed_in))
            assert state == "passed", f"{options}: {text}"
            assert text == f"attestation {attestation}, alg -7, {first}; signed in, {second}", f"{options}: {text}"

    def options_without_pin(self):
        rows = self.combinations(["discouraged", "preferred"])
        if self.name == "chromium":
            # It makes no discoverable credential without user verification: see set_up_a_pin.
            rows = [row for row in rows if row["resident-key"] == "discouraged"]
        self.expect(self.bench(rows), lambda _: False, lambda _: False)

    def required_without_pin(self):
        required = self.bench(self.combinations(["required"])[:1], refused=True)
        # Firefox leaves it to the site to find out.
        why = NOT_ALLOWED if self.name == "chromium" else "The user verified bit is not set"
        assert required[0][1] == "failed" and why in required[0][2], required

    def set_up_a_pin(self):
        """Chromium does it by itself where a credential is to be discoverable, or with another tool."""
        if self.name != "chromium":
            set_pin(PIN)
            return
        self.window.new_pin = True
        row = next(row for row in self.combinations(["discouraged"]) if row["resident-key"] == "preferred")
        [(_, state, text)] = self.bench([row], pin=PIN)
        self.window.new_pin = False
        assert state == "passed" and "-7, UV" in text, text

    def options_with_pin(self):
        rows = self.combinations(["discouraged", "preferred", "required"])
        rows = [row for row in rows if row["user-verification"] == "required" or row["resident-key"] == "preferred"]
        # A key with a PIN makes no discoverable credential without it.
        signed_in = lambda row: row["user-verification"] != "discouraged"
        self.expect(self.bench(rows, pin=PIN), lambda _: True, signed_in)

    def wrong_pin_then_right(self):
        self.settings(user_verification="required")
        assert self.sign_in("bench") == "/console"
        self.credentials_page()
        error = self.assign_key("by-pin", pin=["0000", PIN])
        assert error == "", error
        assert len(self.window.prompts()) == 2, self.window.prompts()
        assert "by PIN" in self.devices(), self.devices()


def main():
    binaries, name, out, *only = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    scenarios = Scenarios(binaries, name, out)
    try:
        scenarios.run(only)
    finally:
        scenarios.stop()
    return scenarios.failed > 0


if __name__ == "__main__":
    sys.exit(main())
