# Sourced by the guest scripts: one line for each check, and the handling of the key.
#
# A check is a function. It runs in a subshell with `set -e`: the first command that fails fails the check, and what it
# printed last is the reason. Variables that it sets are lost; files in $T stay.

BRASSKEY=$BINARIES/brasskey
PATH=$PATH:/usr/sbin:/sbin
T=$(mktemp -d)
cd "$T" || exit 1
failures=0

# With a limit each, because libfido2 and OpenSSH ask a key that nobody touches for ever.
for tool in fido2-token fido2-cred fido2-assert ssh-keygen pamu2fcfg usbip; do
  eval "$tool() { timeout 60 $tool \"\$@\"; }"
done

# check NAME FUNCTION [ARGUMENT…]
check() {
  local name=$1
  shift
  # Not `if (…)`: bash ignores `set -e` inside a condition.
  (set -euo pipefail; "$@") >"$T/check.log" 2>&1
  if [ $? = 0 ]; then
    echo "ok $name"
  else
    failures=$((failures + 1))
    echo "FAILED $name: $(tail -5 "$T/check.log" | tr -s '[:space:][:cntrl:]' ' ' | cut -c 1-600)"
  fi
}

# skip NAME WHY
skip() {
  echo "skipped $1: $2"
}

# The end of a guest script. The whole run's count is for `run` to print.
finish() {
  exit $((failures > 0))
}

fail() {
  echo "$*"
  return 1
}

# wait_for SECONDS COMMAND…: until the command succeeds. The limit is for a key that is broken, not for a slow machine.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || fail "waited in vain for: $*" || return 1
    sleep 0.1
  done
}

load_modules() {
  dmesg -C # what the boot had to say is no matter of ours
  modprobe -a vhci-hcd usbhid hid-generic
}

# start_key ARGUMENT…: starts `brasskey run` and waits for its `ready`.
start_key() {
  rm -f "$T/key.status"
  : >"$T/key.log"
  {
    "$BRASSKEY" run --presence auto "$@" >"$T/key.log" 2>&1 &
    echo $! >"$T/key.pid"
    wait $!
    echo $? >"$T/key.status"
  } &
  wait_for "${START_SECONDS:-60}" grep -qx ready "$T/key.log" || { cat "$T/key.log"; return 1; }
}

# As Ctrl-C or systemd stops it: that is a success.
stop_key() {
  kill "$(cat "$T/key.pid")"
  wait_for 60 test -s "$T/key.status"
  [ "$(cat "$T/key.status")" = 0 ] || fail "exit status $(cat "$T/key.status"): $(cat "$T/key.log")"
}

usbip_attach() {
  usbip attach -r 127.0.0.1 -b 1-1
  wait_for 60 have_hidraw
}

usbip_detach() {
  usbip detach -p "$(usbip port 2>/dev/null | sed -n 's/^Port \([0-9]*\):.*/\1/p')"
  wait_for 60 have_no_hidraw
}

# The key's node is the only hidraw node of the machine. udev has looked at it, too.
have_hidraw() {
  [ -e "$(device)" ] && udevadm settle
}

have_no_hidraw() {
  [ -z "$(device)" ]
}

device() {
  local node
  for node in /dev/hidraw*; do
    [ -e "$node" ] && echo "$node" && return
  done
  return 0
}

# Fails if the kernel has said anything since load_modules that points to a fault of the device or of its USB/IP server. Normal are: a
# connection that was closed or reset, and `urb->status -104` (ECONNRESET), which vhci prints for each UNLINK.
dmesg_is_clean() {
  ! dmesg | grep -v 'urb->status -104$' | grep -E \
    -e 'recv xbuf|cannot find a urb|unknown pdu|unknown command|unexpected|invalid|size .* mismatch|recv a header|urb->status' \
    -e 'usb .*(error|descriptor read|not accepting|unable to|config .* has|can.t)|hid.*(failed|parse|unknown|error)' \
    -e 'BUG:|Oops|WARNING:|Call Trace|general protection|refcount_t|hung task|blocked for more'
}
