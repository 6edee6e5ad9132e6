#!/bin/bash
# guest-browser.sh BINARIES: headless Chromium registers the key on a local page and signs in; the server behind the page
# (relying_party_server) verifies what arrives and prints the lines of the checks. Runs in the guest, started by
# ../vm/run.
#
# Memory: 4096 MB
set -u
BINARIES=$1
. "$(dirname "$0")/../vm/checks.sh"

plug_in() {
  start_key --image :memory: --listen 127.0.0.1:0 --attach
  wait_for 60 have_hidraw
}

unplug() {
  stop_key
  wait_for 60 have_no_hidraw
}

# No click is needed: the page asks for a roaming key, and the key's finger is `auto`.
chromium_opens() {
  chromium --headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --disable-dev-shm-usage --user-data-dir="$T/chromium" \
    --enable-logging=stderr --vmodule='*fido*=3' "$1"
}

# browse NAME OPENS: the server's lines are the checks; a browser that ends or hangs before the server is done fails.
browse() {
  local name=$1 opens=$2 server browser
  "$BINARIES/relying_party_server" "$name" >"$name.lines" 2>&1 &
  server=$!
  wait_for 60 grep -q '^http' "$name.lines"
  setsid bash -c "T=$T; $(declare -f "$opens"); $opens $(head -1 "$name.lines")" >"$name.log" 2>&1 &
  browser=$!
  wait_for 150 server_done "$server" || kill "$server"
  kill -- "-$browser" 2>/dev/null
  sed 1d "$name.lines"
  failures=$((failures + $(grep -c '^FAILED' "$name.lines")))
  wait "$server" || {
    grep -q '^FAILED' "$name.lines" || {
      failures=$((failures + 1))
      echo "FAILED $name: the page did not finish"
    }
    echo "--- the end of $name's log"
    tail -40 "$name.log" | cut -c 1-300
  }
}

server_done() {
  ! kill -0 "$1" 2>/dev/null
}

[ -x "$BINARIES/relying_party_server" ] || { echo "no relying_party_server in $BINARIES"; exit 64; }
load_modules
check browser-plug-in plug_in
browse chromium chromium_opens
skip firefox 'its create() did not end here with attestation "direct"; the cause is not known yet'
check browser-unplug unplug
check browser-dmesg dmesg_is_clean
finish
