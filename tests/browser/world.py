"""What the browsers find in the guest: a key in a USB port, whose finger the test moves; the stand-in of the IAM console;
a screen."""

import base64
import hashlib
import hmac
import os
import pty
import select
import struct
import subprocess
import threading
import time
import zlib

from webdriver import wait_for

DEVICE = "/dev/hidraw0"


class Key:
    """`brasskey run --attach` in a terminal, where it asks before each touch. `finger` answers: "grant", "deny" or
    "ignore"."""

    def __init__(self, program, image):
        self.finger = "grant"
        # What it asked, a question each.
        self.asked = []
        terminal, end = pty.openpty()
        self.process = subprocess.Popen(
            [program, "run", "--image", image, "--listen", "127.0.0.1:0", "--attach", "--presence", "ask"],
            stdin=end, stdout=subprocess.PIPE, stderr=end, text=True, start_new_session=True)
        os.close(end)
        self.terminal = terminal
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
        else:
            raise RuntimeError("brasskey run did not get ready")
        threading.Thread(target=self.watch, daemon=True).start()
        wait_for("the key's device", lambda: os.path.exists(DEVICE))
        subprocess.run(["udevadm", "settle"], check=True)

    def watch(self):
        screen = b""
        try:
            while True:
                screen += os.read(self.terminal, 4096)
                *questions, screen = screen.split(b"[y/n]")
                for question in questions:
                    self.asked.append(question.decode(errors="replace").strip())
                    answer = {"grant": b"y\n", "deny": b"n\n"}.get(self.finger)
                    if answer:
                        os.write(self.terminal, answer)
        except OSError:
            pass  # The program has ended.

    def unplug(self):
        self.process.terminate()
        if self.process.wait(60) != 0:
            raise RuntimeError("brasskey run did not end well")
        wait_for("the device to go", lambda: not os.path.exists(DEVICE))


class Console:
    """The stand-in, with each ceremony recorded."""

    def __init__(self, program, record):
        self.process = subprocess.Popen([program, "--record", record], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip().rstrip("/")

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Screen:
    """A display of Xvfb, for what headless Chromium has no place for: the dialogs beside the page."""

    def __init__(self, folder, size):
        self.name = ":9"
        self.folder = folder
        self.process = subprocess.Popen(
            ["Xvfb", self.name, "-screen", "0", f"{size[0]}x{size[1]}x24", "-nolisten", "tcp", "-fbdir", folder],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("Xvfb", lambda: os.path.exists("/tmp/.X11-unix/X9"))

    def keys(self, *arguments):
        subprocess.run(["xdotool", *arguments], env={**os.environ, "DISPLAY": self.name}, check=True)

    def picture(self):
        """Width, height, bytes of a line, and the pixels (blue, green, red, unused), from the frame buffer, which is a
        file in the format of xwd (X11/XWDFile.h)."""
        with open(os.path.join(self.folder, "Xvfb_screen0"), "rb") as file:
            data = file.read()
        header = struct.unpack(">25I", data[:100])
        size, width, height, line, colours = header[0], header[4], header[5], header[12], header[19]
        return width, height, line, data[size + 12 * colours:]

    def count(self, colours, where):
        """How many of every second pixel, both ways, have one of these colours (red, green, blue) in a rectangle (left,
        top, right, bottom)."""
        _, _, line, pixels = self.picture()
        left, top, right, bottom = where
        wanted = {bytes(reversed(colour)) for colour in colours}
        starts = (y * line + 4 * x for y in range(top, bottom, 2) for x in range(left, right, 2))
        return sum(pixels[start:start + 3] in wanted for start in starts)

    def png(self):
        width, height, line, pixels = self.picture()
        rows = b""
        for y in range(height):
            row = pixels[y * line:y * line + 4 * width]
            rgb = bytearray(3 * width)
            rgb[0::3], rgb[1::3], rgb[2::3] = row[2::4], row[1::4], row[0::4]
            rows += b"\0" + rgb

        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def set_pin(pin):
    """By libfido2's tool, which wants a terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("fido2-token", ["fido2-token", "-S", DEVICE])
    said, answers = b"", 0
    try:
        while True:
            if not select.select([terminal], [], [], 60)[0]:
                raise TimeoutError(f"fido2-token -S: {said!r}")
            said += os.read(terminal, 1024)
            if said.count(b"PIN") > answers and said.rstrip().endswith(b":"):
                answers += 1
                os.write(terminal, pin.encode() + b"\n")
    except OSError:
        pass  # It has ended.
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"fido2-token -S: {said!r}")


def totp(secret, step):
    """RFC 6238. `secret` in base32; `step`: the code's number since 1970."""
    digest = hmac.digest(base64.b32decode(secret + "=" * (-len(secret) % 8)), struct.pack(">Q", step), hashlib.sha1)
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset:offset + 4])[0] & 0x7FFFFFFF) % 1000000:06}"


def step_now():
    return int(time.time()) // 30
