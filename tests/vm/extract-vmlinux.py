#!/usr/bin/env python3
"""extract-vmlinux.py VMLINUZ VMLINUX: takes the ELF kernel out of a bzImage.

QEMU starts an ELF kernel at its PVH entry. A bzImage unpacks itself first, which takes seconds under emulation.
Offsets: Documentation/arch/x86/boot.rst of Linux (setup_sects, payload_offset, payload_length).
"""
import lzma
import struct
import subprocess
import sys
import zlib

source, target = sys.argv[1:]
with open(source, "rb") as file:
    image = file.read()
setup_sectors = image[0x1F1] or 4
start = (setup_sectors + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
payload = image[start : start + struct.unpack_from("<I", image, 0x24C)[0]]
if payload.startswith(b"\xfd7zXZ\0"):
    kernel = lzma.LZMADecompressor().decompress(payload)
elif payload.startswith(b"\x1f\x8b"):
    kernel = zlib.decompressobj(31).decompress(payload)
elif payload.startswith(b"\x28\xb5\x2f\xfd"):
    # The last four bytes are the unpacked length, no part of the stream.
    kernel = subprocess.run(["zstd", "-dc"], input=payload[:-4], stdout=subprocess.PIPE, check=True).stdout
else:
    sys.exit(f"{source}: unknown compression {payload[:6]!r}")
if not kernel.startswith(b"\x7fELF"):
    sys.exit(f"{source}: no ELF file inside")
with open(target, "wb") as file:
    file.write(kernel)
