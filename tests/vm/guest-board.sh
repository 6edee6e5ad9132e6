#!/bin/bash
# guest-board.sh BINARIES: firmware on the emulated board under Debian's kernel: libfido2 registers and signs in. Runs in
# the guest, started by `run`; see checks.sh for the lines that it prints. An emulator in an emulator takes its time.
set -u
BINARIES=$1
. "$(dirname "$0")/checks.sh"
FIRMWARE=$BINARIES/qemu-mps2.elf
if [ ! -e "$FIRMWARE" ]; then
  skip board "no qemu-mps2.elf; cargo xtask firmware makes it"
  finish
fi
for tool in fido2-token fido2-cred fido2-assert; do
  eval "$tool() { timeout 300 $tool \"\$@\"; }"
done

hash_of() { printf %s "$1" | openssl dgst -sha256 -binary | base64 -w0; }

plugged_in() {
  load_modules
  START_SECONDS=300 start_key --image board.img --listen 127.0.0.1:0 --attach --firmware "$FIRMWARE"
  wait_for 300 have_hidraw
  fido2-token -I "$(device)"
}

registers() {
  { hash_of create; echo; echo board.example; echo ada; printf %s user | base64 -w0; echo; } >request
  fido2-cred -M -i request -o cred "$(device)" es256
  fido2-cred -V -i cred -o verified es256
  head -1 verified >id
  tail -n +2 verified >pem
  grep -q 'BEGIN PUBLIC KEY' pem
}

signs_in() {
  { hash_of get; echo; echo board.example; cat id; } >request
  fido2-assert -G -p -i request -o assertion "$(device)"
  fido2-assert -V -p -i assertion pem es256
}

check board-plugged-in plugged_in
check board-fido2-cred registers
check board-fido2-assert signs_in
check board-stops stop_key
check board-dmesg dmesg_is_clean
finish
