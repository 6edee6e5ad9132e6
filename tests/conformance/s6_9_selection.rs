//! authenticatorSelection (CTAP 2.3 §6.9).

use brasskey_tests::ctap2::{command, status::*};
use brasskey_tests::ctaphid::{UPNEEDED, command::CBOR};
use brasskey_tests::{Key, Simulator};

use crate::{attached, refused};

/// Covers: §6.9; command authenticatorSelection; status SUCCESS; command CTAPHID_KEEPALIVE
#[test]
fn a_touch_selects() {
    let (_simulator, key) = attached();
    key.send(command::SELECTION, &[]).unwrap();
    let (answer, keep_alives) = key.channel().receive(CBOR).unwrap();
    assert_eq!(answer, [SUCCESS]);
    assert!(keep_alives.contains(&UPNEEDED));
}

/// Covers: §6.9; command authenticatorSelection; status OPERATION_DENIED
#[test]
fn the_user_may_say_no() {
    let simulator = Simulator::with(&["--image", ":memory:", "--presence", "deny"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    assert_eq!(refused(key.selection()), OPERATION_DENIED);
}

/// Covers: §6.9; §11.2.9.1.5; command authenticatorSelection; status KEEPALIVE_CANCEL; command CTAPHID_CANCEL
#[test]
fn the_platform_may_change_its_mind() {
    let simulator = Simulator::in_terminal(&["--image", ":memory:"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    key.send(command::SELECTION, &[]).unwrap();
    key.channel().wait_for_prompt().unwrap();
    key.channel().cancel().unwrap();
    assert_eq!(refused(key.receive()), KEEPALIVE_CANCEL);
    key.get_info().unwrap();
}

/// Covers: §6.9; §11.2.9.1.7; command authenticatorSelection; status USER_ACTION_TIMEOUT; command CTAPHID_KEEPALIVE
///
/// Takes half a minute.
#[test]
fn the_key_does_not_wait_for_ever() {
    let simulator = Simulator::with_sensor().unwrap();
    simulator.control("touch/never").unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    key.send(command::SELECTION, &[]).unwrap();
    let (answer, keep_alives) = key.channel().receive(CBOR).unwrap();
    assert_eq!(answer, [USER_ACTION_TIMEOUT]);
    assert!(keep_alives.iter().filter(|&&status| status == UPNEEDED).count() > 100, "ten a second");
}
