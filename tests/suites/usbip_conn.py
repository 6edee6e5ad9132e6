"""A USB/IP host in user space, for python-fido2: no kernel, no root.

One `UsbIpHid` is one attach: what vhci_hcd and usbhid are together. It enumerates the device as Linux does and then
keeps one interrupt IN URB posted. One `Connection` is an open file on it, what /dev/hidrawN is: any number may be
open, and each sees every report.

It is strict: what makes the kernel drop a device is an error, what makes it try again is an anomaly, and nothing is
tried again here.

Environment: FIDO_USBIP_SETTLE, seconds to wait after a control OUT transfer (default 0). FIDO_USBIP_TRACE=1 prints
every report to standard error.
"""

import os
import queue
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field

VERSION = 0x0111
REQ_DEVLIST, REP_DEVLIST = 0x8005, 0x0005
REQ_IMPORT, REP_IMPORT = 0x8003, 0x0003
CMD_SUBMIT, CMD_UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
OUT, IN = 0, 1
FIDO_USAGE = (0xF1D0, 0x01)
EPIPE, ECONNRESET = 32, 104


class UsbIpError(OSError):
    """What a USB/IP or a USB host would not accept."""


@dataclass
class Exported:
    """A device in the replies to DEVLIST and IMPORT."""

    FORMAT = struct.Struct(">256s32sIIIHHHBBBBBB")

    bus_id: str
    device_id: int
    speed: int
    interface_count: int
    interfaces: list = field(default_factory=list)

    @classmethod
    def read(cls, sock):
        _path, bus_id, busnum, devnum, speed, *_, count = cls.FORMAT.unpack(receive(sock, cls.FORMAT.size))
        return cls(bus_id.split(b"\0", 1)[0].decode(), busnum << 16 | devnum, speed, count)


@dataclass
class Endpoint:
    address: int
    attributes: int
    max_packet: int
    interval: int


@dataclass
class Interface:
    number: int
    cls: int
    report_len: int = 0
    endpoints: list = field(default_factory=list)


def receive(sock, length):
    """Exactly so many bytes."""
    data = bytearray()
    while len(data) < length:
        part = sock.recv(length - len(data))
        if not part:
            raise UsbIpError(ECONNRESET, "the server closed the connection")
        data += part
    return bytes(data)


def operation(address, code, reply, body=b"", timeout=5.0):
    """Sends an operation on a new connection, and returns that after the reply's header."""
    sock = socket.create_connection(address, timeout=timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(struct.pack(">HHI", VERSION, code, 0) + body)
        version, got, status = struct.unpack(">HHI", receive(sock, 8))
        if (version, got, status) != (VERSION, reply, 0):
            raise UsbIpError(f"reply {version:#06x} {got:#06x} status {status} to {code:#06x}")
        return sock
    except BaseException:
        sock.close()
        raise


def devices(address):
    """What a server exports."""
    with operation(address, REQ_DEVLIST, REP_DEVLIST) as sock:
        found = []
        for _ in range(struct.unpack(">I", receive(sock, 4))[0]):
            device = Exported.read(sock)
            device.interfaces = [tuple(receive(sock, 4)[:3]) for _ in range(device.interface_count)]
            found.append(device)
        return found


def parse_configuration(data):
    """A configuration descriptor: its bConfigurationValue and its interfaces."""
    if len(data) < 9 or data[1] != 2:
        raise UsbIpError("no configuration descriptor")
    interfaces, at = [], 0
    while at + 2 <= len(data):
        length, kind = data[at], data[at + 1]
        if length < 2 or at + length > len(data):
            raise UsbIpError(f"a descriptor of length {length} at {at}")
        part = data[at : at + length]
        if kind == 4:
            interfaces.append(Interface(part[2], part[5]))
        elif kind == 0x21 and interfaces:
            for i in range(part[5]):
                if part[6 + 3 * i] == 0x22:
                    interfaces[-1].report_len = struct.unpack_from("<H", part, 7 + 3 * i)[0]
        elif kind == 5 and interfaces:
            size = struct.unpack_from("<H", part, 4)[0] & 0x7FF
            interfaces[-1].endpoints.append(Endpoint(part[2], part[3], size, part[6]))
        at += length
    return data[5], interfaces


def parse_report(data):
    """A HID report descriptor: (usage page, usage), bytes in, bytes out."""
    page = usage = size = count = 0
    first = None
    bits = {0x80: 0, 0x90: 0}
    at = 0
    while at < len(data):
        length = (0, 1, 2, 4)[data[at] & 3]
        value = int.from_bytes(data[at + 1 : at + 1 + length], "little")
        tag = data[at] & 0xFC
        if tag == 0x04:
            page = value
        elif tag == 0x08:
            usage = value
        elif tag == 0xA0 and first is None:
            first = (page, usage)
        elif tag == 0x74:
            size = value
        elif tag == 0x94:
            count = value
        elif tag == 0x84:
            raise UsbIpError("a FIDO report descriptor with report IDs")
        elif tag in bits:
            bits[tag] += size * count
        at += 1 + length
    return first, bits[0x80] // 8, bits[0x90] // 8


class UsbIpHid:
    """An attached and enumerated FIDO device."""

    def __init__(self, host, port, bus_id=None, timeout=5.0):
        self.timeout = timeout
        self.settle = float(os.environ.get("FIDO_USBIP_SETTLE", "0"))
        self.trace = os.environ.get("FIDO_USBIP_TRACE") == "1"
        self.anomalies = []
        self.error = None
        self.handles = []
        self._lock = threading.Lock()
        self._pending = {}  # sequence number -> [done, direction, room, reply]
        self._polls = set()
        self._sequence = 0
        if bus_id is None:
            exported = devices((host, port))
            if not exported:
                raise UsbIpError("the server exports nothing")
            bus_id = exported[0].bus_id
        body = struct.pack("32s", bus_id.encode())
        self._sock = operation((host, port), REQ_IMPORT, REP_IMPORT, body)
        try:
            self.exported = Exported.read(self._sock)
            if self.exported.bus_id != bus_id:
                raise UsbIpError(f"asked for {bus_id}, was given {self.exported.bus_id}")
            self._sock.settimeout(None)
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
            self._enumerate()
            self._poll()
        except BaseException:
            self._sock.close()
            raise

    # -- URBs

    def _submit(self, direction, endpoint, length, setup=bytes(8), data=b"", interval=0, poll=False):
        waiter = [threading.Event(), direction, length, None]
        with self._lock:
            if self.error:
                raise self.error
            self._sequence += 1
            sequence = self._sequence
            self._pending[sequence] = waiter
            if poll:
                self._polls.add(sequence)
            head = (CMD_SUBMIT, sequence, self.exported.device_id, direction, endpoint, 0, length, 0, 0, interval)
            self._sock.sendall(struct.pack(">10I8s", *head, setup) + data)
        return sequence, waiter

    def _finish(self, sequence, waiter):
        if not waiter[0].wait(self.timeout):
            raise TimeoutError(f"URB {sequence} did not end within {self.timeout} s")
        if waiter[3] is None:
            raise self.error or UsbIpError("detached")
        return waiter[3]

    def unlink(self, victim):
        """Takes a URB back; the reply's status."""
        waiter = [threading.Event(), OUT, 0, None]
        with self._lock:
            self._sequence += 1
            self._pending[self._sequence] = waiter
            head = (CMD_UNLINK, self._sequence, self.exported.device_id, 0, 0, victim)
            self._sock.sendall(struct.pack(">6I24x", *head))
        return self._finish(self._sequence, waiter)[0]

    def _poll(self):
        endpoint = self.ep_in
        self._submit(IN, endpoint.address & 15, endpoint.max_packet, interval=endpoint.interval, poll=True)

    def _read(self):
        try:
            while True:
                self._read_reply()
        except (OSError, struct.error) as error:
            self.error = error if isinstance(error, OSError) else UsbIpError(str(error))
            with self._lock:
                waiters = list(self._pending.values())
                self._pending.clear()
            for waiter in waiters:
                waiter[0].set()
            for handle in list(self.handles):
                handle.reports.put(None)

    def _read_reply(self):
        command, sequence, _, _, _, status, actual = struct.unpack(">5Iii20x", receive(self._sock, 48))
        if command not in (RET_SUBMIT, RET_UNLINK):
            raise UsbIpError(f"command {command}")
        with self._lock:
            waiter = self._pending.pop(sequence, None)
            poll = sequence in self._polls
            self._polls.discard(sequence)
        if waiter is None:
            raise UsbIpError(f"a reply to unknown sequence number {sequence}")
        data = b""
        if command == RET_SUBMIT:
            # vhci_hcd drops the device on this.
            if not 0 <= actual <= waiter[2]:
                self.anomalies.append(f"{actual} bytes for {waiter[2]}")
                raise UsbIpError(self.anomalies[-1])
            if waiter[1] == IN:
                data = receive(self._sock, actual)
        if poll:
            if status == 0:
                self._report(data)
            elif status != -ECONNRESET:
                self.anomalies.append(f"an IN URB ended with status {status}")
            return
        waiter[3] = (status, actual, data)
        waiter[0].set()

    def _report(self, data):
        if len(data) != self.report_in:
            self.anomalies.append(f"a report of {len(data)} bytes")
        if self.trace:
            print("<-", data.hex(), file=sys.stderr)
        self._poll()
        for handle in list(self.handles):
            handle.reports.put(data)

    # -- endpoint 0

    def control(self, request_type, request, value, index, length=0):
        """A control transfer without OUT data; what it brings."""
        direction = IN if request_type & 0x80 else OUT
        setup = struct.pack("<BBHHH", request_type, request, value, index, length)
        status, _, data = self._finish(*self._submit(direction, 0, length, setup))
        if status:
            raise UsbIpError(-status, f"control transfer {setup.hex()}: status {status}")
        if direction == OUT:
            time.sleep(self.settle)
        return data

    def descriptor(self, request_type, kind, index, length, exact=True, extra=0):
        data = self.control(request_type, 6, kind << 8 | index, extra, length)
        if exact and len(data) != length:
            self.anomalies.append(f"{len(data)} bytes for descriptor {kind:#x} of {length}")
        return data

    def _string(self, index):
        if not index:
            return None
        languages = self.descriptor(0x80, 3, 0, 255, exact=False)
        (language,) = struct.unpack_from("<H", languages, 2)
        raw = self.descriptor(0x80, 3, index, 255, exact=False, extra=language)
        return raw[2 : raw[0]].decode("utf-16-le")

    def _enumerate(self):
        device = self.descriptor(0x80, 1, 0, 18)
        if device[:2] != b"\x12\x01":
            raise UsbIpError(f"device descriptor {device.hex()}")
        self.vid, self.pid = struct.unpack_from("<HH", device, 8)
        (total,) = struct.unpack_from("<H", self.descriptor(0x80, 2, 0, 9), 2)
        value, interfaces = parse_configuration(self.descriptor(0x80, 2, 0, total))
        self.manufacturer, self.product, self.serial = map(self._string, device[14:17])
        self.control(0x00, 9, value, 0)  # SET_CONFIGURATION
        for interface in (interface for interface in interfaces if interface.cls == 3):
            try:
                self.control(0x21, 0x0A, 0, interface.number)  # SET_IDLE
            except UsbIpError as error:
                if error.errno != EPIPE:  # A device may refuse it.
                    raise
            report = self.descriptor(0x81, 0x22, 0, interface.report_len, extra=interface.number)
            usage, self.report_in, self.report_out = parse_report(report)
            if usage == FIDO_USAGE:
                break
        else:
            raise UsbIpError("no HID interface with the FIDO usage")
        interrupt = [endpoint for endpoint in interface.endpoints if endpoint.attributes & 3 == 3]
        self.ep_in = next(endpoint for endpoint in interrupt if endpoint.address & 0x80)
        self.ep_out = next(endpoint for endpoint in interrupt if not endpoint.address & 0x80)

    # -- reports

    def write_report(self, data):
        if len(data) != self.report_out:
            raise UsbIpError(f"a report of {len(data)} bytes, not {self.report_out}")
        if self.trace:
            print("->", data.hex(), file=sys.stderr)
        endpoint = self.ep_out
        urb = self._submit(OUT, endpoint.address & 15, len(data), data=data, interval=endpoint.interval)
        status, actual, _ = self._finish(*urb)
        if status or actual != len(data):
            raise UsbIpError(-status or 5, f"an OUT URB: status {status}, {actual} bytes")

    def open(self):
        return Connection(self)

    def detach(self):
        for sequence in list(self._polls):
            self.unlink(sequence)
        self._sock.close()


class Connection:
    """python-fido2's CtapHidConnection, by its methods."""

    READ_TIMEOUT = 30.0

    def __init__(self, hid):
        self.hid = hid
        self.reports = queue.Queue()
        hid.handles.append(self)

    def write_packet(self, data):
        self.hid.write_report(bytes(data))

    def read_packet(self):
        try:
            data = self.reports.get(timeout=self.READ_TIMEOUT)
        except queue.Empty:
            raise TimeoutError("no report") from None
        if data is None:
            raise self.hid.error or UsbIpError("detached")
        return data

    def close(self):
        if self in self.hid.handles:
            self.hid.handles.remove(self)
