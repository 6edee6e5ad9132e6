#!/bin/bash
# guest-tests.sh BINARIES: the key under Debian's kernel, udev, libfido2's tools, OpenSSH and pam-u2f. Runs in the guest,
# started by `run`; see checks.sh for the lines that it prints.
set -u
BINARIES=$1
. "$(dirname "$0")/checks.sh"

base64_of() { printf %s "$1" | base64 -w0; }
hash_of() { printf %s "$1" | openssl dgst -sha256 -binary | base64 -w0; }

### The errors of `run --attach`

# one_line_and_exit_1 PATTERN COMMAND…: the whole output is one line with that pattern.
one_line_and_exit_1() {
  local pattern=$1 status=0
  shift
  timeout 60 "$@" >out 2>&1 || status=$?
  cat out
  [ $status = 1 ] || fail "exit status $status"
  [ "$(wc -l <out)" = 1 ] || fail "not one line"
  grep -q "$pattern" out || fail "no '$pattern' in it"
}

attach_without_module() {
  [ ! -e /sys/devices/platform/vhci_hcd.0 ] || fail "the module is loaded"
  one_line_and_exit_1 'modprobe vhci-hcd' \
    "$BRASSKEY" run --image :memory: --listen 127.0.0.1:0 --presence auto --attach
}

attach_without_permission() {
  one_line_and_exit_1 'needs root' setpriv --reuid=65534 --regid=65534 --clear-groups \
    "$BRASSKEY" run --image :memory: --listen 127.0.0.1:0 --presence auto --attach
}

### The demo

demo_in_the_kernel() {
  BRASSKEY_BIN=$BRASSKEY timeout 120 "$BINARIES/demo" | tee demo
  grep -q 'USB device of this machine: /dev/hidraw' demo
  grep -q 'Sign in once more' demo
  wait_for 60 have_no_hidraw
}

demo_in_user_space() {
  BRASSKEY_BIN=$BRASSKEY timeout 120 setpriv --reuid=65534 --regid=65534 --clear-groups "$BINARIES/demo" | tee demo
  grep -q 'USB host in user space.*takes root' demo
  grep -q 'Sign in once more' demo
  have_no_hidraw
}

### USB/IP and udev

usbip_lists_the_key() {
  usbip list -r 127.0.0.1 | tee list
  grep -q '1-1:' list
}

udev_knows_a_security_key() {
  udevadm info -q property -n "$(device)" | tee properties
  grep -qx ID_FIDO_TOKEN=1 properties
  grep -qx ID_SECURITY_TOKEN=1 properties
}

device_goes_and_comes_back() {
  usbip_detach
  usbip_attach
  fido2-token -I "$(device)"
}

open_and_close() {
  local i
  # Each close makes the kernel take back the pending interrupt IN (UNLINK); each open asks anew.
  for i in $(seq 20); do
    fido2-token -I "$(device)" >info || fail "cycle $i"
  done
}

# The device goes away, the kernel lives, and the image is good for the next run.
server_killed_while_attached() {
  kill -9 "$(cat key.pid)"
  wait_for 60 have_no_hidraw
  dmesg_is_clean
  start_key --image key.img
  usbip_attach
}

attached_by_brasskey() {
  start_key --image key.img --listen 127.0.0.1:0 --attach --test-control
  wait_for 60 have_hidraw
  fido2-token -I "$(device)"
}

# The test control cuts the power and gives it back: the kernel sees the device go, and a new one come.
power_cycle() {
  local control number
  control=$(sed -n 's/^control //p' key.log)
  number=$(cat "/sys/class/hidraw/${1##*/}/device/../../devnum")
  busybox wget -q -O- "$control/usb1/power/off"
  wait_for 60 have_no_hidraw
  busybox wget -q -O- "$control/usb1/power/on"
  wait_for 60 have_hidraw
  [ "$(cat "/sys/class/hidraw/$(basename "$(device)")/device/../../devnum")" != "$number" ]
  fido2-token -I "$(device)"
}

stop_takes_the_device_away() {
  stop_key
  wait_for 60 have_no_hidraw
}

# Nobody has the device open at the kill above; here one command follows another until it comes.
killed_in_a_command() {
  (sleep 0.3; kill -9 "$(cat key.pid)") &
  while fido2-token -I "$(device)" >info 2>&1; do :; done
  wait_for 60 have_no_hidraw
}

### libfido2's tools

token_list() {
  fido2-token -L | tee list
  grep -q "^$(device): " list
}

token_info() {
  fido2-token -I "$(device)" | tee info
  grep -q '^version strings:.*U2F_V2' info
  grep -q '^version strings:.*FIDO_2' info
}

# cred NAME TYPE [OPTION…]: registers, verifies the attestation, and leaves NAME.id and NAME.pem.
cred() {
  local name=$1 type=$2
  shift 2
  { hash_of "create $name"; echo; echo "$name.example"; echo ada; base64_of "user $name"; echo; } >"$name.request"
  fido2-cred -M "$@" -i "$name.request" -o "$name.cred" "$(device)" "$type"
  fido2-cred -V -i "$name.cred" -o "$name.verified" "$type"
  head -1 "$name.verified" >"$name.id"
  tail -n +2 "$name.verified" >"$name.pem"
  grep -q 'BEGIN PUBLIC KEY' "$name.pem"
}

# assert NAME TYPE [OPTION…]: signs and verifies; with -r, the key finds the credential by itself.
assert() {
  local name=$1 type=$2
  shift 2
  { hash_of "get $name"; echo; echo "$name.example"; } >"$name.get"
  [[ " $* " = *" -r "* ]] || cat "$name.id" >>"$name.get"
  fido2-assert -G "$@" -i "$name.get" -o "$name.assertion" "$(device)" "$type"
  fido2-assert -V -p -i "$name.assertion" "$name.pem" "$type"
  # The check can fail: the same assertion over other data is refused.
  sed "1s|.*|$(hash_of other)|" "$name.assertion" >"$name.forged"
  ! fido2-assert -V -p -i "$name.forged" "$name.pem" "$type" || fail "a forged assertion passes"
}

### OpenSSH

# ssh_enrol NAME TYPE [OPTION…]. `-O resident` needs credProtect of the key, but no PIN (OpenSSH 9.2); only
# `-O verify-required` and the download of resident keys (-K) do.
ssh_enrol() {
  local name=$1 type=$2
  shift 2
  ssh-keygen -q -t "$type" -f "$name" -N '' -C ada -O application="ssh:$name" "$@" </dev/null
}

ssh_sign_and_verify() {
  local name=$1
  rm -f message.sig
  echo "a message for $name" >message
  ssh-keygen -Y sign -f "$name" -n file message
  echo "ada $(cat "$name.pub")" >allowed
  ssh-keygen -Y verify -f allowed -I ada -n file -s message.sig <message
  ! ssh-keygen -Y verify -f allowed -I ada -n file -s message.sig <allowed || fail "a forged message passes"
}

### pam-u2f

pam_registers() {
  pamu2fcfg -u ada -o pam://vm -i pam://vm >mapping
  cat mapping
  grep -Eq '^ada:[A-Za-z0-9+/=]+,[A-Za-z0-9+/=]+,es256,\+presence$' mapping
}

### The run

check vhci-module-missing attach_without_module
load_modules
check attach-without-permission attach_without_permission
check demo-in-the-kernel demo_in_the_kernel
check demo-in-user-space demo_in_user_space

check server-starts start_key --image key.img
check usbip-list usbip_lists_the_key
check usbip-attach usbip_attach
check udev udev_knows_a_security_key
check usbip-list-while-attached usbip_lists_the_key
check fido2-token-list token_list
check fido2-token-info token_info
check open-close-20 open_and_close

check fido2-cred-es256 cred fido es256
check fido2-assert-es256 assert fido es256 -p
check fido2-cred-eddsa cred edwards eddsa
check fido2-assert-eddsa assert edwards eddsa -p
check fido2-cred-resident cred resident es256 -r
check fido2-assert-resident assert resident es256 -p -r
check u2f-cred cred u2f es256 -u
check u2f-assert assert u2f es256 -u -p
check u2f-credential-by-fido2 assert u2f es256 -p

for type in ecdsa-sk ed25519-sk; do
  check "ssh-$type-enrol" ssh_enrol "$type" "$type"
  check "ssh-$type-sign" ssh_sign_and_verify "$type"
  check "ssh-$type-resident-enrol" ssh_enrol "$type-resident" "$type" -O resident -O user=ada
  check "ssh-$type-resident-sign" ssh_sign_and_verify "$type-resident"
done
check pamu2fcfg pam_registers

check detach-and-attach device_goes_and_comes_back
check assert-after-attach assert fido es256 -p
check server-killed-while-attached server_killed_while_attached
check assert-after-kill assert fido es256 -p
check usbip-detach usbip_detach
check server-stops stop_key

check attach-by-brasskey attached_by_brasskey
check udev-of-attach-by-brasskey udev_knows_a_security_key
check assert-of-attach-by-brasskey assert resident es256 -p -r
check power-cycle power_cycle "$(device)"
check assert-after-power-cycle assert resident es256 -p -r
check stop-takes-device-away stop_takes_the_device_away
check attach-by-brasskey-again attached_by_brasskey
check killed-in-a-command killed_in_a_command
check dmesg dmesg_is_clean
finish
