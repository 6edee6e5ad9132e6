#!/bin/bash
# guest-browser.sh BINARIES: a person registers the key at the IAM stand-in and signs in with it, in Chromium and in
# Firefox, each with all that can go wrong; see scenarios.py. Runs in the guest, started by ../vm/run.
#
# Leaves in /mnt/vm/out: screenshots, the recorded ceremonies, and what came of each combination of WebAuthn options.
#
# Memory: 4096 MB
set -u
BINARIES=$1
. "$(dirname "$0")/../vm/checks.sh"
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
export PYTHONDONTWRITEBYTECODE=1

# The scenarios print the lines of their own checks.
browse() {
  timeout 1000 python3 "$here/scenarios.py" "$BINARIES" "$1" /mnt/vm/out >"$T/lines" 2>"$T/errors" &
  tail --pid=$! -n +1 -f "$T/lines"
  wait $!
  local status=$?
  failures=$((failures + $(grep -c ^FAILED "$T/lines")))
  if [ $status -gt 1 ] || { [ $status = 1 ] && ! grep -q ^FAILED "$T/lines"; }; then
    failures=$((failures + 1))
    echo "FAILED $1: it broke off: $(tail -3 "$T/errors" | tr '\n' ' ' | cut -c 1-500)"
  fi
}

[ -x "$BINARIES/brasskey-iam-console" ] || { echo "no brasskey-iam-console in $BINARIES"; exit 64; }
load_modules
for browser in chromium firefox; do
  browse $browser
done
check browser-dmesg dmesg_is_clean
finish
