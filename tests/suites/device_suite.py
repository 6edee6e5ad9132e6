"""pytest plugin: python-fido2's tests/device on a simulated key, with no kernel between them.

Loaded with -p, before any conftest. It makes python-fido2 see the one USB/IP device of a server, and no other, and
judges what comes of each test by a list, expected.toml beside this file. Its report has a line for each test that
passed, `ok NAME`, or did what it should not, `FAILED NAME: why`, and one for each entry of the list, `skipped NAME: why`.

    --usbip HOST:PORT    the server
    --model NAME         which entries of the list apply: those that name this model, and those that name none
    --report FILE        where the report goes
"""

import faulthandler
import os
import pathlib
import re
import threading
import tomllib
import urllib.request

import pytest
import usbip_conn

EXPECTED = pathlib.Path(__file__).with_name("expected.toml")
OUTCOMES = ("passed", "skipped", "failed")

# Seconds that the USB side may take, and a whole test: limits for a key that is broken, not for a slow machine.
USB_PATIENCE = 60
TEST_PATIENCE = 600

# pytest takes standard error for itself later on.
STDERR = os.fdopen(os.dup(2), "w")


class Port:
    """A USB port that takes the key whenever the server offers it."""

    def __init__(self):
        self.address = None
        self.hid = None
        self.lock = threading.Lock()

    def connect(self, address):
        """Names the server, HOST:PORT."""
        host, _, port = address.rpartition(":")
        self.address = (host, int(port))

    def device(self):
        """The attached device, or None while it is not there."""
        with self.lock:
            if self.hid is not None and self.hid.error is not None:
                self.hid = None
            if self.hid is None and usbip_conn.devices(self.address):
                self.hid = usbip_conn.UsbIpHid(*self.address, timeout=USB_PATIENCE)
            return self.hid

    def install(self):
        """Makes python-fido2 see this port, and no other."""
        import fido2.hid
        from fido2.hid.base import CtapHidConnection, HidDescriptor

        CtapHidConnection.register(usbip_conn.Connection)

        def list_descriptors():
            hid = self.device()
            if hid is None:
                return []
            path = f"usbip/{hid.exported.bus_id}"
            return [HidDescriptor(path, hid.vid, hid.pid, hid.report_in, hid.report_out, hid.product, hid.serial)]

        def get_descriptor(path):
            for descriptor in list_descriptors():
                if descriptor.path == path:
                    return descriptor
            raise FileNotFoundError(path)

        def open_connection(descriptor):
            hid = self.device()
            if hid is None:
                raise FileNotFoundError(descriptor.path)
            return hid.open()

        for module in (fido2.hid, fido2.hid.backend):
            module.list_descriptors = list_descriptors
            module.get_descriptor = get_descriptor
            module.open_connection = open_connection


class Judge:
    """Compares what comes of each test with the list."""

    def __init__(self, listed, control, report):
        self.listed = listed
        self.control = control
        self.report = report
        self.outcomes = {}
        self.lines = []

    def find(self, name):
        """The entry for a test. A * in an entry's name stands for anything."""
        for entry in self.listed:
            if re.fullmatch(re.escape(entry["test"]).replace(r"\*", ".*"), name):
                return entry
        return None

    def line(self, word, name, why=""):
        why = " ".join(why.split())
        self.lines.append(f"{word} {name}: {why}" if why else f"{word} {name}")

    def judge(self, whole):
        """Makes the report, of the whole suite or of a part."""
        counts = {id(entry): 0 for entry in self.listed}
        for name, (outcome, why) in self.outcomes.items():
            entry = self.find(name)
            if entry is None and outcome == "passed":
                self.line("ok", name)
                continue
            if entry is None:
                self.line("FAILED", name, f"{outcome}: {why}")
                continue
            counts[id(entry)] += 1
            if outcome == "passed":
                self.line("FAILED", name, f"passes, though it is listed as {entry['outcome']}: take it off the list")
            elif outcome != entry["outcome"] or not re.search(entry["match"], why):
                self.line("FAILED", name, f"{outcome}: {why}; listed as {entry['outcome']}: {entry['match']}")
        for entry in self.listed:
            count = counts[id(entry)]
            if count:
                self.line("skipped", entry["test"], f"{count} {entry['outcome']}: {entry['reason']}")
            elif whole:
                self.line("FAILED", entry["test"], "is on the list, but there is no such test")

    # Hooks of pytest.

    @pytest.fixture(autouse=True)
    def pin(self, dev_manager):
        """A test that fails may leave the key as reset, without the PIN that all others count on."""
        yield
        if dev_manager.info.options["clientPin"] is False:
            dev_manager.setup()

    @pytest.fixture(autouse=True)
    def finger(self, request, printer):
        """The suite asks its user in words to put a finger on the sensor: nothing that it does tells a machine."""
        words_only = request.path.name == "test_bioenroll.py"
        if words_only:
            # A touch of the test before would be lifted in the middle of this one.
            if printer._touch_timer:
                printer._touch_timer.cancel()
            urllib.request.urlopen(f"{self.control}/usb1/touch/on", timeout=5)
        yield
        if words_only:
            urllib.request.urlopen(f"{self.control}/usb1/touch/off", timeout=5)

    def pytest_runtest_logstart(self):
        faulthandler.dump_traceback_later(TEST_PATIENCE, exit=True, file=STDERR)

    def pytest_runtest_logfinish(self):
        faulthandler.cancel_dump_traceback_later()

    def pytest_runtest_logreport(self, report):
        why = ""
        if report.outcome == "skipped":
            # A skip is a file, a line and a reason; an expected failure of the suite's own has its reason elsewhere.
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
        elif report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message if crash else str(report.longrepr).strip().rsplit("\n", 1)[-1]
        # A test is its worst phase: setting up, running, tearing down.
        name = report.nodeid.removeprefix("tests/device/")
        before = self.outcomes.get(name, ("passed", ""))
        if OUTCOMES.index(report.outcome) > OUTCOMES.index(before[0]) or name not in self.outcomes:
            self.outcomes[name] = (report.outcome, why)

    def pytest_sessionfinish(self, session, exitstatus):
        # 0: all passed; 1: some did not, which the list decides; anything else: it broke off.
        broke_off = int(exitstatus) > 1
        self.judge(whole=not broke_off and not session.config.getoption("keyword"))
        if broke_off:
            self.line("FAILED", "the suite", f"broke off with exit status {int(exitstatus)}")
        self.report.write_text("".join(f"{line}\n" for line in self.lines))
        session.exitstatus = int(any(line.startswith("FAILED ") for line in self.lines))


PORT = Port()
# At once: conftest takes the functions from python-fido2 when it is loaded, which is before anything is configured.
PORT.install()


def pytest_addoption(parser):
    for name in ("--usbip", "--model", "--report"):
        parser.addoption(name, required=True)


def read_list(model):
    """The entries that apply to a model of the key."""
    entries = tomllib.loads(EXPECTED.read_text())["entry"]
    for entry in entries:
        needed = {"test", "outcome", "match", "reason"}
        if not needed <= set(entry) <= needed | {"models"}:
            raise pytest.UsageError(f"{EXPECTED.name}: an entry has {', '.join(needed)}, and maybe models: {entry}")
        if entry["outcome"] not in OUTCOMES[1:]:
            raise pytest.UsageError(f"{EXPECTED.name}: an outcome is skipped or failed: {entry}")
    return [entry for entry in entries if model in entry.get("models", [model])]


def pytest_configure(config):
    PORT.connect(config.getoption("usbip"))
    listed = read_list(config.getoption("model"))
    # The conftest's option; it is known by now, but not while this file is loaded.
    control = config.getoption("controller")
    config.pluginmanager.register(Judge(listed, control, pathlib.Path(config.getoption("report"))))
