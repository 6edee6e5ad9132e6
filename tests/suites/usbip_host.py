"""USB/IP client in user space: talk CTAPHID to any USB/IP server without a kernel.

Pure Python, standard library only (python-fido2 is needed only for the
``install*`` helpers at the end).

    attach   TCP connect, OP_REQ_IMPORT <busid>
    ep 0     GET_DESCRIPTOR device / configuration / strings / HID report,
             SET_CONFIGURATION, SET_IDLE
    data     interrupt OUT and IN URBs (USBIP_CMD_SUBMIT) on the end points that
             the configuration descriptor names, sizes taken from there too
    detach   USBIP_CMD_UNLINK of what is pending, close

One ``UsbIpHid`` is one attach, what the kernel's vhci + usbhid would be;
``UsbIpCtapHidConnection`` is one open file on it, what /dev/hidrawN would be:
any number may be open and each sees every IN report.

Environment, read by the helpers:
    FIDO_USBIP       host:port/busid    (default 127.0.0.1:3240/, first FIDO device)
    FIDO_USBIP_PLUG  shell command run between unplug and plug (power cycle)
    FIDO_USBIP_TOUCH shell command run when a test asks for a touch
    FIDO_USBIP_READ_TIMEOUT seconds to wait for an IN report (default 60)
    FIDO_USBIP_TRACE 1: hex of every report on stderr
    FIDO_USBIP_LENIENT 1: take control IN data longer than wLength (usbip-device 0.2
                     sends it after a control OUT), and try again
    FIDO_USBIP_SETTLE seconds to wait after a control OUT (default 0.02, what a real
                     host's scheduling gives; 0 is the stricter test of a server)
"""

from __future__ import annotations

import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

USBIP_VERSION = 0x0111
OP_REQ_DEVLIST, OP_REP_DEVLIST = 0x8005, 0x0005
OP_REQ_IMPORT, OP_REP_IMPORT = 0x8003, 0x0003
CMD_SUBMIT, CMD_UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
DIR_OUT, DIR_IN = 0, 1
FIDO_USAGE_PAGE, FIDO_USAGE = 0xF1D0, 0x01
EPIPE, ECONNRESET = 32, 104


class UsbIpError(OSError):
    """Anything the server did that a USB/IP or USB host would reject."""


@dataclass
class UsbIpDevice:
    path: str
    busid: str
    busnum: int
    devnum: int
    speed: int
    vid: int
    pid: int
    bcd: int
    dev_class: int
    dev_subclass: int
    dev_protocol: int
    config_value: int
    num_configs: int
    num_interfaces: int
    interfaces: list = field(default_factory=list)  # (class, subclass, protocol)

    FMT = ">256s32sIIIHHHBBBBBB"
    SIZE = struct.calcsize(FMT)  # 312

    @classmethod
    def unpack(cls, data):
        v = struct.unpack(cls.FMT, data)
        text = [s.split(b"\0", 1)[0].decode("ascii", "replace") for s in v[:2]]
        return cls(*text, *v[2:])


@dataclass
class Endpoint:
    address: int
    attributes: int
    max_packet: int
    interval: int


@dataclass
class HidInterface:
    number: int
    alt: int
    cls: int
    subclass: int
    protocol: int
    report_len: int = 0
    hid_descriptor: bytes = b""
    endpoints: list = field(default_factory=list)


def _recv_exact(sock, n):
    buf = bytearray()
    while len(buf) < n:
        part = sock.recv(n - len(buf))
        if not part:
            raise UsbIpError(ECONNRESET, "USB/IP server closed the connection")
        buf += part
    return bytes(buf)


def _connect(host, port, timeout):
    sock = socket.create_connection((host, port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def list_exported(host="127.0.0.1", port=3240, timeout=5.0):
    """OP_REQ_DEVLIST: the devices that the server exports."""
    with _connect(host, port, timeout) as sock:
        sock.sendall(struct.pack(">HHI", USBIP_VERSION, OP_REQ_DEVLIST, 0))
        ver, code, status = struct.unpack(">HHI", _recv_exact(sock, 8))
        if code != OP_REP_DEVLIST or status:
            raise UsbIpError(f"bad OP_REP_DEVLIST: {ver:#x} {code:#x} {status}")
        (count,) = struct.unpack(">I", _recv_exact(sock, 4))
        out = []
        for _ in range(count):
            dev = UsbIpDevice.unpack(_recv_exact(sock, UsbIpDevice.SIZE))
            for _ in range(dev.num_interfaces):
                c, s, p, _pad = _recv_exact(sock, 4)
                dev.interfaces.append((c, s, p))
            out.append(dev)
        return out


def parse_config(data):
    """Configuration descriptor -> (bConfigurationValue, [HidInterface])."""
    if len(data) < 9 or data[1] != 2:
        raise UsbIpError("not a configuration descriptor")
    value, intfs, pos = data[5], [], 0
    while pos + 2 <= len(data):
        length, kind = data[pos], data[pos + 1]
        if length < 2 or pos + length > len(data):
            raise UsbIpError(f"descriptor of length {length} at {pos} overruns")
        d = data[pos : pos + length]
        if kind == 4:
            intfs.append(HidInterface(d[2], d[3], d[5], d[6], d[7]))
        elif kind == 0x21 and intfs:
            intfs[-1].hid_descriptor = d
            for i in range(d[5]):
                if d[6 + 3 * i] == 0x22:
                    intfs[-1].report_len = struct.unpack_from("<H", d, 7 + 3 * i)[0]
        elif kind == 5 and intfs:
            intfs[-1].endpoints.append(
                Endpoint(d[2], d[3], struct.unpack_from("<H", d, 4)[0] & 0x7FF, d[6])
            )
        pos += length
    return value, intfs


def parse_report(data):
    """HID report descriptor -> (usage page, usage, bytes in, bytes out, uses ids)."""
    page = usage = first_page = first_usage = None
    size = count = 0
    bits = {0x80: 0, 0x90: 0}
    ids = False
    pos = 0
    while pos < len(data):
        head = data[pos]
        if head == 0xFE:  # long item
            pos += 3 + data[pos + 1]
            continue
        n = (0, 1, 2, 4)[head & 3]
        val = int.from_bytes(data[pos + 1 : pos + 1 + n], "little")
        tag = head & 0xFC
        if tag == 0x04:
            page = val
        elif tag == 0x08:
            usage = val
        elif tag == 0xA0 and first_usage is None:
            first_page, first_usage = page, usage
        elif tag == 0x74:
            size = val
        elif tag == 0x94:
            count = val
        elif tag == 0x84:
            ids = True
        elif tag in bits:
            bits[tag] += size * count
        pos += 1 + n
    return first_page, first_usage, bits[0x80] // 8, bits[0x90] // 8, ids


class UsbIpHid:
    """One attach of one exported device, enumerated the way Linux does it."""

    def __init__(self, host="127.0.0.1", port=3240, busid="", timeout=5.0, in_urbs=1):
        self.timeout = timeout
        self._lock = threading.Lock()
        self._pending = {}  # seqnum -> [event, direction, reply]
        self._in_seqs = set()
        self._seq = 0
        self._handles = []
        self.error = None
        self.stats = {"in": 0, "out": 0, "control": 0}
        self.trace = os.environ.get("FIDO_USBIP_TRACE") == "1"
        self.settle = float(os.environ.get("FIDO_USBIP_SETTLE", "0.02"))
        self.lenient = os.environ.get("FIDO_USBIP_LENIENT") == "1"
        self.anomalies = []

        if not busid:
            exported = list_exported(host, port, timeout)
            if not exported:
                raise UsbIpError("the server exports no device")
            busid = exported[0].busid
        self.address = (host, port, busid)
        self._sock = _connect(host, port, timeout)
        try:
            self._sock.sendall(
                struct.pack(">HHI32s", USBIP_VERSION, OP_REQ_IMPORT, 0, busid.encode())
            )
            ver, code, status = struct.unpack(">HHI", _recv_exact(self._sock, 8))
            if code != OP_REP_IMPORT or status:
                raise UsbIpError(f"import of {busid!r} refused: status {status}")
            self.dev = UsbIpDevice.unpack(_recv_exact(self._sock, UsbIpDevice.SIZE))
            if self.dev.busid != busid:
                raise UsbIpError(f"asked for {busid!r}, was given {self.dev.busid!r}")
            self.devid = self.dev.busnum << 16 | self.dev.devnum
            self._sock.settimeout(None)
            self._reader = threading.Thread(target=self._read_loop, daemon=True)
            self._reader.start()
            self._enumerate()
        except BaseException:
            self._sock.close()
            raise
        for _ in range(in_urbs):
            self._post_in()

    # -- URBs ------------------------------------------------------------------

    def _submit(self, direction, ep, length, setup=b"\0" * 8, data=b"", interval=0):
        waiter = [threading.Event(), direction, None]
        with self._lock:
            if self.error:
                raise self.error
            self._seq += 1
            seq = self._seq
            self._pending[seq] = waiter
            self._sock.sendall(
                struct.pack(
                    ">IIIIIIiiii8s",
                    CMD_SUBMIT, seq, self.devid, direction, ep,
                    0, length, 0, 0, interval, setup,
                )
                + data
            )
        return seq, waiter

    def _finish(self, seq, waiter, timeout):
        if not waiter[0].wait(timeout):
            self.unlink(seq)
            raise TimeoutError(f"URB {seq} not completed within {timeout} s")
        if waiter[2] is None:
            raise self.error or UsbIpError("detached")
        return waiter[2]  # (status, actual, data)

    def unlink(self, victim):
        with self._lock:
            self._seq += 1
            seq = self._seq
            waiter = [threading.Event(), DIR_OUT, None]
            self._pending[seq] = waiter
            self._sock.sendall(
                struct.pack(
                    ">IIIIII24x", CMD_UNLINK, seq, self.devid, 0, 0, victim
                )
            )
        waiter[0].wait(1.0)
        with self._lock:
            self._pending.pop(victim, None)
        return waiter[2]

    def control(self, request_type, request, value, index, data_or_len=0, timeout=None):
        """One control transfer; returns the IN data, or raises UsbIpError(-status)."""
        self.stats["control"] += 1
        if request_type & 0x80:
            data, length, direction = b"", data_or_len, DIR_IN
        else:
            data = data_or_len or b""
            length, direction = len(data), DIR_OUT
        setup = struct.pack("<BBHHH", request_type, request, value, index, length)
        seq, waiter = self._submit(direction, 0, length, setup, data)
        status, actual, payload = self._finish(seq, waiter, timeout or self.timeout)
        if status:
            raise UsbIpError(-status, f"control {setup.hex()} failed: {status}")
        if direction == DIR_OUT:
            time.sleep(self.settle)
        elif len(payload) > length:  # vhci_hcd drops the connection on this
            self.anomalies.append(f"{len(payload)} bytes for wLength {length}: {setup.hex()}")
            if not self.lenient:
                raise UsbIpError(self.anomalies[-1])
        return payload

    def get_descriptor(self, request_type, kind, index, length, lang=0, retries=4):
        """GET_DESCRIPTOR, tried again when short (as Linux does) or too long."""
        for _ in range(retries):
            data = self.control(request_type, 6, kind << 8 | index, lang, length)
            if len(data) == length:
                break
            self.anomalies.append(f"{len(data)} bytes for descriptor {kind:#x} of {length}")
        return data

    def _post_in(self):
        if self.ep_in is not None:
            seq, _ = self._submit(
                DIR_IN, self.ep_in.address & 15, self.ep_in.max_packet,
                interval=self.ep_in.interval,
            )
            self._in_seqs.add(seq)

    def _read_loop(self):
        try:
            while True:
                if hasattr(socket, "TCP_QUICKACK"):  # a server without TCP_NODELAY
                    self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                head = _recv_exact(self._sock, 48)
                cmd, seq, _, _, _ = struct.unpack_from(">IIIII", head)
                status, actual = struct.unpack_from(">ii", head, 20)
                with self._lock:
                    waiter = self._pending.pop(seq, None)
                if cmd == RET_UNLINK:
                    if waiter:
                        waiter[2] = (status, 0, b"")
                        waiter[0].set()
                    continue
                if cmd != RET_SUBMIT:
                    raise UsbIpError(f"unexpected USB/IP command {cmd}")
                if waiter is None:
                    raise UsbIpError(f"RET_SUBMIT for unknown URB {seq}")
                data = b""
                if waiter[1] == DIR_IN and actual:
                    data = _recv_exact(self._sock, actual)
                if seq in self._in_seqs:
                    self._in_seqs.discard(seq)
                    if status == 0:
                        self.stats["in"] += 1
                        if self.trace:
                            print("<-", data.hex(), file=sys.stderr)
                        for h in list(self._handles):
                            h._queue.put(data)
                        self._post_in()
                    continue
                waiter[2] = (status, actual, data)
                waiter[0].set()
        except (OSError, struct.error) as e:
            self.error = e if isinstance(e, OSError) else UsbIpError(str(e))
            with self._lock:
                waiters = list(self._pending.values())
                self._pending.clear()
            for w in waiters:
                w[0].set()
            for h in list(self._handles):
                h._queue.put(None)

    # -- enumeration -------------------------------------------------------------

    def _string(self, index):
        if not index:
            return None
        try:
            langs = self.control(0x80, 6, 0x0300, 0, 255)
            lang = struct.unpack_from("<H", langs, 2)[0] if len(langs) >= 4 else 0x0409
            raw = self.control(0x80, 6, 0x0300 | index, lang, 255)
        except UsbIpError:
            return None
        return raw[2 : raw[0]].decode("utf-16-le", "replace")

    def _enumerate(self):
        self.ep_in = self.ep_out = None
        d = self.device_descriptor = self.get_descriptor(0x80, 1, 0, 18)
        if len(d) != 18 or d[0] != 18 or d[1] != 1:
            raise UsbIpError(f"bad device descriptor {d.hex()}")
        self.vid, self.pid, self.bcd = struct.unpack_from("<HHH", d, 8)
        head = self.get_descriptor(0x80, 2, 0, 9)
        total = struct.unpack_from("<H", head, 2)[0]
        c = self.config_descriptor = self.get_descriptor(0x80, 2, 0, total)
        if len(c) != total:
            raise UsbIpError(f"wTotalLength {total}, got {len(c)}")
        value, self.interfaces = parse_config(c)
        self.manufacturer, self.product, self.serial = map(self._string, d[14:17])
        self.control(0x00, 9, value, 0)  # SET_CONFIGURATION
        self.intf = None
        for intf in self.interfaces:
            if intf.cls != 3:
                continue
            try:
                self.control(0x21, 0x0A, 0, intf.number)  # SET_IDLE, may stall
            except UsbIpError as e:
                if e.errno != EPIPE:
                    raise
            report = self.get_descriptor(0x81, 0x22, 0, intf.report_len, intf.number)
            page, usage, n_in, n_out, ids = parse_report(report)
            if (page, usage) != (FIDO_USAGE_PAGE, FIDO_USAGE):
                continue
            self.intf, self.report_descriptor = intf, report
            self.report_in, self.report_out = n_in, n_out
            break
        if self.intf is None:
            raise UsbIpError("no HID interface with usage page F1D0, usage 01")
        if ids:
            raise UsbIpError("the FIDO report descriptor must not use report ids")
        for ep in self.intf.endpoints:
            if ep.attributes & 3 != 3:
                continue
            if ep.address & 0x80:
                self.ep_in = self.ep_in or ep
            else:
                self.ep_out = self.ep_out or ep
        if self.ep_in is None:
            raise UsbIpError("the FIDO interface has no interrupt IN end point")

    # -- reports -----------------------------------------------------------------

    def write_report(self, data):
        if len(data) != self.report_out:
            raise UsbIpError(f"report of {len(data)} bytes, not {self.report_out}")
        if self.trace:
            print("->", data.hex(), file=sys.stderr)
        self.stats["out"] += 1
        if self.ep_out is None:  # no interrupt OUT: SET_REPORT on end point 0
            self.control(0x21, 9, 0x0200, self.intf.number, data)
            return
        seq, waiter = self._submit(
            DIR_OUT, self.ep_out.address & 15, len(data), data=data,
            interval=self.ep_out.interval,
        )
        status, actual, _ = self._finish(seq, waiter, self.timeout)
        if status or actual != len(data):
            raise UsbIpError(-status or 5, f"OUT URB: status {status}, {actual} bytes")

    def open(self):
        return UsbIpCtapHidConnection(self)

    def detach(self):
        for seq in list(self._in_seqs):
            try:
                self.unlink(seq)
            except OSError:
                break
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._sock.close()
        self._reader.join(2.0)

    @property
    def attached(self):
        return self.error is None


class UsbIpCtapHidConnection:
    """python-fido2's CtapHidConnection (duck typed: read_packet, write_packet, close)."""

    read_timeout = float(os.environ.get("FIDO_USBIP_READ_TIMEOUT", "60"))

    def __init__(self, hid):
        self.hid = hid
        self._queue = queue.Queue()
        hid._handles.append(self)

    def write_packet(self, data):
        self.hid.write_report(bytes(data))

    def read_packet(self, timeout=None):
        try:
            data = self._queue.get(timeout=timeout or self.read_timeout)
        except queue.Empty:
            raise TimeoutError("no IN report") from None
        if data is None:
            self._queue.put(None)
            raise self.hid.error or UsbIpError("detached")
        return data

    def close(self):
        if self in self.hid._handles:
            self.hid._handles.remove(self)


# -- the port: what a test run plugs and unplugs -------------------------------------


class Port:
    """A USB socket that holds at most one device; what the suites call into."""

    def __init__(self, spec=None):
        spec = spec or os.environ.get("FIDO_USBIP", "127.0.0.1:3240/")
        hostport, _, self.busid = spec.partition("/")
        host, _, port = hostport.rpartition(":")
        self.host, self.port = host or "127.0.0.1", int(port or 3240)
        self.hid = None
        self.powered = True

    @property
    def path(self):
        return f"usbip://{self.host}:{self.port}/{self.busid}"

    def attach(self, tries=50):
        if self.hid is not None and self.hid.attached:
            return self.hid
        for left in range(tries - 1, -1, -1):
            try:
                self.hid = UsbIpHid(self.host, self.port, self.busid)
                return self.hid
            except (ConnectionError, TimeoutError, UsbIpError):
                if not left:
                    raise
                time.sleep(0.1)

    def unplug(self):
        self.powered = False
        if self.hid is not None:
            self.hid.detach()
            self.hid = None

    def plug(self):
        cmd = os.environ.get("FIDO_USBIP_PLUG")
        if cmd:
            subprocess.run(cmd, shell=True, check=True)
        self.powered = True
        return self.attach()

    def replug(self):
        self.unplug()
        return self.plug()

    def touch(self):
        cmd = os.environ.get("FIDO_USBIP_TOUCH")
        if cmd:
            subprocess.Popen(cmd, shell=True)


PORT = None


def port():
    global PORT
    if PORT is None:
        PORT = Port()
    return PORT


def fido2_descriptors():
    from fido2.hid.base import HidDescriptor

    p = port()
    if not p.powered:
        return []
    try:
        h = p.attach(tries=20)
    except OSError:
        return []
    return [
        HidDescriptor(p.path, h.vid, h.pid, h.report_in, h.report_out, h.product, h.serial)
    ]


def install_fido2():
    """Make python-fido2 >= 0.9 see the USB/IP device, and no other."""
    import fido2.hid as hid
    from fido2.hid.base import CtapHidConnection

    CtapHidConnection.register(UsbIpCtapHidConnection)

    def get_descriptor(path):
        for d in fido2_descriptors():
            if d.path == path:
                return d
        raise OSError(f"no such device: {path}")

    def open_connection(descriptor):
        return port().attach().open()

    for module in (hid, hid.backend):
        module.list_descriptors = fido2_descriptors
        module.get_descriptor = get_descriptor
        module.open_connection = open_connection


def install():
    """Make python-fido2 see the USB/IP device, and no other."""
    install_fido2()


def main(argv):
    """list the server's devices, attach, print descriptors, INIT, PING, getInfo"""
    p = Port(argv[1] if len(argv) > 1 else None)
    for d in list_exported(p.host, p.port):
        print(f"exported {d.busid} {d.vid:04x}:{d.pid:04x} speed {d.speed} "
              f"interfaces {d.interfaces}")
    h = p.attach(tries=1)
    print(f"{h.manufacturer!r} {h.product!r} {h.serial!r} {h.vid:04x}:{h.pid:04x}")
    print("device", h.device_descriptor.hex())
    print("config", h.config_descriptor.hex())
    print("report", h.report_descriptor.hex(), h.report_in, h.report_out)
    print("IN", h.ep_in, "OUT", h.ep_out)
    c = h.open()
    nonce = os.urandom(8)
    c.write_packet((b"\xff\xff\xff\xff\x86\x00\x08" + nonce).ljust(h.report_out, b"\0"))
    r = c.read_packet(5)
    assert r[:4] == b"\xff\xff\xff\xff" and r[7:15] == nonce, r.hex()
    cid = r[15:19]
    print("cid", cid.hex(), "protocol", r[19], "version", tuple(r[20:23]),
          f"capabilities {r[23]:#04x}")
    t = time.perf_counter()
    n = 200
    for _ in range(n):
        c.write_packet((cid + b"\x81\x00\x08" + nonce).ljust(h.report_out, b"\0"))
        assert c.read_packet(5)[7:15] == nonce
    print(f"{n} pings, {(time.perf_counter() - t) / n * 1000:.2f} ms each")
    print("anomalies", h.anomalies)
    p.unplug()


if __name__ == "__main__":
    main(sys.argv)
