#!/bin/bash
# guest-pin.sh BINARIES: what takes a PIN, and what hangs on it, by libfido2's tools and OpenSSH under Debian's kernel:
# setting and changing the PIN, lists of resident credentials, ssh-keygen -K, hmac-secret, large blobs. Runs in the
# guest, started by `run`; see checks.sh for the lines that it prints.
set -u
BINARIES=$1
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/checks.sh"

PIN=first-pin
NEW_PIN=another-pin
SITE=pin.example

# answer ANSWER… -- COMMAND…: the tools ask for PINs on a terminal.
answer() {
  timeout 120 python3 "$HERE/answer.py" "$@"
}

base64_of() { printf %s "$1" | base64 -w0; }
hash_of() { printf %s "$1" | openssl dgst -sha256 -binary | base64 -w0; }

option_is() {
  fido2-token -I "$(device)" | tee info
  grep -Eq "^options: (.*, )?$1(,|$)" info
}

# What the tool does after it has asked for the PIN is read only.
pin_is_taken() {
  answer "$1" -- fido2-token -I -c "$(device)"
}

retries_are() {
  fido2-token -I "$(device)" | tee info
  grep -qx "pin retries: $1" info
}

### The PIN

pin_is_set() {
  option_is noclientPin
  answer $PIN $PIN -- fido2-token -S "$(device)"
  option_is clientPin
}

pin_is_changed() {
  answer $PIN $NEW_PIN $NEW_PIN -- fido2-token -C "$(device)"
  # The old one is wrong from now on, and costs a try; the right one gives it back.
  ! pin_is_taken $PIN || fail "the old PIN is good"
  retries_are 7
  pin_is_taken $NEW_PIN
  retries_are 8
}

minimum_length_is_raised() {
  answer $NEW_PIN -- fido2-token -S -l 8 "$(device)"
  fido2-token -I "$(device)" | tee info
  grep -qx 'minpinlen: 8' info
  ! answer $NEW_PIN short1 short1 -- fido2-token -C "$(device)" || fail "a PIN that is too short"
}

### Credentials

# cred NAME OPTION…: registers a resident credential of $SITE with the PIN, leaves NAME.id and NAME.pem.
cred() {
  local name=$1
  shift
  { hash_of "create $name"; echo; echo $SITE; echo "$name"; base64_of "user $name"; echo; } >"$name.request"
  answer $NEW_PIN -- fido2-cred -M "$@" -i "$name.request" -o "$name.cred" "$(device)" es256
  local extension=
  [[ " $* " != *" -h "* ]] || extension=-h
  fido2-cred -V $extension -i "$name.cred" -o "$name.verified" es256
  head -1 "$name.verified" >"$name.id"
  sed -n '/BEGIN PUBLIC KEY/,/END PUBLIC KEY/p' "$name.verified" >"$name.pem"
  test -s "$name.pem"
}

# get NAME OPTION…: an assertion by that credential into NAME.assertion, verified. Fails if any of its commands does, also
# inside of a condition, where `set -e` is off.
get() {
  local name=$1 extension=
  shift
  [[ " $* " != *" -h "* ]] || extension=-h
  { hash_of "get $name"; echo; echo $SITE; cat "$name.id"; [[ " $* " != *" -h "* ]] || { hash_of 'a salt'; echo; }; } >"$name.get"
  fido2-assert -G "$@" -i "$name.get" -o "$name.assertion" "$(device)" es256 </dev/null &&
    fido2-assert -V $extension -i "$name.assertion" "$name.pem" es256
}

relying_parties_are_listed() {
  answer $NEW_PIN -- fido2-token -L -r "$(device)" | tee list
  grep -q " $SITE\$" list
}

credentials_are_listed() {
  answer $NEW_PIN -- fido2-token -L -k $SITE "$(device)" | tee list
  grep -qF "$(cat listed.id)" list
  # In the metadata they are counted.
  answer $NEW_PIN -- fido2-token -I -c "$(device)" | tee metadata
  grep -Eq '^existing rk\(s\): [1-9]' metadata
}

credential_is_renamed() {
  answer $NEW_PIN -- fido2-token -S -c -i "$(cat listed.id)" -k "$(base64_of 'user listed')" -n countess \
    -p 'The Countess of Lovelace' "$(device)"
  answer $NEW_PIN -- fido2-token -L -k $SITE "$(device)" | tee list
  grep -q 'The Countess of Lovelace' list
}

credential_is_deleted() {
  get listed
  answer $NEW_PIN -- fido2-token -D -i "$(cat listed.id)" "$(device)"
  ! get listed || fail "a deleted credential signs"
  answer $NEW_PIN -- fido2-token -L -k $SITE "$(device)" >list || true
  ! grep -qF "$(cat listed.id)" list || fail "a deleted credential is listed"
}

hmac_secret_is_the_same() {
  cred hmac -r -h
  get hmac -h
  tail -1 hmac.assertion >secret
  [ "$(base64 -d secret | wc -c)" = 32 ] || fail "no secret: $(cat hmac.assertion)"
  get hmac -h
  tail -1 hmac.assertion | cmp - secret
  # After a power cycle, too.
  usbip_detach
  usbip_attach
  get hmac -h
  tail -1 hmac.assertion | cmp - secret
}

large_blobs_are_kept() {
  cred blob -r -b
  sed -n 8p blob.cred >blob.key
  [ "$(base64 -d blob.key | wc -c)" = 32 ] || fail "no largeBlobKey: $(cat blob.cred)"
  # The key is the same when it signs.
  get blob -b
  tail -1 blob.assertion | cmp - blob.key
  head -c 700 /dev/urandom >blob
  answer $NEW_PIN -- fido2-token -S -b -k blob.key blob "$(device)"
  fido2-token -G -b -k blob.key fetched "$(device)"
  cmp blob fetched
  # By the site instead of the key; the tool asks the key for it.
  # libfido2 1.12 cannot encrypt what is shorter than 16 bytes when compressed.
  head -c 300 /dev/urandom >blob
  answer $NEW_PIN -- fido2-token -S -b -n $SITE -i "$(cat blob.id)" blob "$(device)"
  rm fetched
  fido2-token -G -b -k blob.key fetched "$(device)"
  cmp blob fetched
  answer $NEW_PIN -- fido2-token -D -b -k blob.key "$(device)"
  ! fido2-token -G -b -k blob.key fetched "$(device)" || fail "a deleted blob is there"
}

### OpenSSH

ssh_keys_are_downloaded() {
  local type
  for type in ecdsa-sk ed25519-sk; do
    answer $NEW_PIN -- ssh-keygen -q -t $type -f "$type" -N '' -C ada -O resident -O application="ssh:$type"
  done
  mkdir downloaded
  cd downloaded
  answer $NEW_PIN -- ssh-keygen -K -N ''
  ls
  for type in ecdsa-sk ed25519-sk; do
    # The same key, whose private half stayed where it was.
    awk '{ print $2 }' ../$type.pub >expected
    awk '{ print $2 }' ./*"${type%-sk}"_sk_rk_"$type".pub | cmp - expected
    echo 'a message' >message
    rm -f message.sig
    ssh-keygen -Y sign -f ./*"${type%-sk}"_sk_rk_"$type" -n file message
    echo "ada $(cat ../$type.pub)" >allowed
    ssh-keygen -Y verify -f allowed -I ada -n file -s message.sig <message
  done
}

ssh_signs_with_the_pin() {
  # OpenSSH 9.2 asks for the PIN when it signs, not when it enrols.
  ssh-keygen -q -t ed25519-sk -f verified -N '' -C ada -O verify-required </dev/null
  echo 'a message' >message
  rm -f message.sig
  answer $NEW_PIN -- ssh-keygen -Y sign -f verified -n file message
  echo "ada $(cat verified.pub)" >allowed
  ssh-keygen -Y verify -f allowed -I ada -n file -s message.sig <message
}

### alwaysUv, and the end

uv_is_always_asked_for() {
  answer $NEW_PIN -- fido2-token -S -u "$(device)"
  option_is alwaysUv
  ! get hmac || fail "an assertion without the PIN"
  answer $NEW_PIN -- fido2-token -D -u "$(device)"
  option_is noalwaysUv
  get hmac
}

pin_is_blocked_by_wrong_tries() {
  local i
  for i in 1 2 3; do
    ! pin_is_taken wrong-pin || fail "a wrong PIN is good"
  done
  # Now also the right one is refused, and costs nothing, until the key is plugged in anew.
  ! pin_is_taken $NEW_PIN || fail "not blocked"
  retries_are 5
  usbip_detach
  usbip_attach
  pin_is_taken $NEW_PIN
  retries_are 8
}

# Within ten seconds of being plugged in; a slow machine may need another try.
reset_forgets_everything() {
  local try
  for try in 1 2 3 4 5; do
    usbip_detach
    usbip_attach
    ! fido2-token -R "$(device)" || break
  done
  option_is noclientPin
  ! get hmac || fail "a credential from before the reset signs"
}

load_modules
check pin-server-starts start_key --image key.img
check pin-usbip-attach usbip_attach
check pin-set pin_is_set
check pin-change pin_is_changed
check pin-minimum-length minimum_length_is_raised
check resident-cred cred listed -r
check list-relying-parties relying_parties_are_listed
check list-credentials credentials_are_listed
check rename-credential credential_is_renamed
check delete-credential credential_is_deleted
check hmac-secret hmac_secret_is_the_same
check large-blobs large_blobs_are_kept
check ssh-keygen-download ssh_keys_are_downloaded
check ssh-verify-required ssh_signs_with_the_pin
check always-uv uv_is_always_asked_for
check pin-soft-block pin_is_blocked_by_wrong_tries
check pin-reset reset_forgets_everything
check pin-server-stops stop_key
check pin-dmesg dmesg_is_clean
finish
