//! CTAPHID from outside (CTAP 2.3 §11.2): channels, errors, time-outs, and who is disturbed by whom.

use std::sync::Arc;
use std::time::Duration;

use brasskey_tests::ctap2::{MakeCredential, command as ctap2, status};
use brasskey_tests::ctaphid::{
    BROADCAST, Channel, Init, command, error, init, packets, parse_init, read_message,
};
use brasskey_tests::usb::{Device, deadline};
use brasskey_tests::{Error, Key, Simulator};

/// Long enough for an answer that must not come.
const QUIET: Duration = Duration::from_millis(300);

fn attached() -> (Simulator, Arc<Device>) {
    let simulator = Simulator::start().unwrap();
    let device = Device::attach(simulator.address(), &simulator.bus_ids()[0]).unwrap();
    (simulator, Arc::new(device))
}

/// The code of the error that comes next, and its channel.
fn next_error(device: &Device) -> (u32, u8) {
    let message = read_message(device, deadline(Duration::from_secs(20))).unwrap();
    assert_eq!((message.command, message.data.len()), (command::ERROR, 1), "{message:02x?}");
    (message.channel, message.data[0])
}

fn write(device: &Device, channel: u32, command: u8, data: &[u8]) {
    packets(channel, command, data, None).iter().for_each(|packet| device.write_report(packet).unwrap());
}

#[test]
fn init_gives_each_client_a_channel_of_its_own() {
    let (_simulator, device) = attached();
    let first = init(&device, BROADCAST, *b"nonce  1").unwrap();
    let second = init(&device, BROADCAST, *b"nonce  2").unwrap();
    assert_ne!(first.channel, second.channel);
    for Init { channel, protocol, capabilities, .. } in [first, second] {
        assert!(![0, BROADCAST].contains(&channel));
        assert_eq!((protocol, capabilities), (2, 0x05), "WINK and CBOR");
    }
    // INIT on a channel echoes it, also on one that was not given out.
    assert_eq!(init(&device, first.channel, *b"nonce  3").unwrap().channel, first.channel);
    let own = 0x1234_5678;
    assert_eq!(init(&device, own, *b"nonce  4").unwrap().channel, own);
    write(&device, own, command::PING, b"usable from now on");
    assert_eq!(read_message(&device, deadline(Duration::from_secs(20))).unwrap().data, b"usable from now on");
}

#[test]
fn what_is_wrong_with_a_message_is_said() {
    let (_simulator, device) = attached();
    let channel = Channel::open(&device).unwrap();
    let refused = |command, data: &[u8]| match channel.call(command, data) {
        Err(Error::Ctaphid(code)) => code,
        other => panic!("{command:#04x}: {other:02x?}"),
    };
    assert_eq!(refused(0x50, b""), error::INVALID_CMD);
    assert_eq!(refused(command::LOCK, &[5]), error::INVALID_CMD);
    assert_eq!(refused(command::INIT, b"seven b"), error::INVALID_LEN);
    assert_eq!(refused(command::CBOR, b""), error::INVALID_LEN);
    let too_long = packets(channel.init.channel, command::PING, &[0; 57], Some(7610));
    device.write_report(&too_long[0]).unwrap();
    assert_eq!(next_error(&device), (channel.init.channel, error::INVALID_LEN));
    assert_eq!(channel.call(command::WINK, b"").unwrap(), b"");
    channel.expect_silence(QUIET).unwrap();
}

#[test]
fn channels_that_nobody_opened() {
    let (_simulator, device) = attached();
    for channel in [0, 0x0bad_cafe] {
        write(&device, channel, command::PING, b"hello");
        assert_eq!(next_error(&device), (channel, error::INVALID_CHANNEL));
    }
    write(&device, BROADCAST, command::PING, b"hello");
    assert_eq!(next_error(&device), (BROADCAST, error::INVALID_CHANNEL));
    // A continuation packet out of nowhere, and CANCEL with nothing to cancel: silence.
    let channel = Channel::open(&device).unwrap();
    device.write_report(&packets(channel.init.channel, command::PING, &[0; 100], None)[1]).unwrap();
    channel.cancel().unwrap();
    channel.expect_silence(QUIET).unwrap();
}

#[test]
fn a_message_that_breaks_off_or_is_out_of_order() {
    let (_simulator, device) = attached();
    let channel = Channel::open(&device).unwrap();
    let message = packets(channel.init.channel, command::PING, &[7; 300], None);
    device.write_report(&message[0]).unwrap();
    device.write_report(&message[2]).unwrap();
    assert_eq!(next_error(&device), (channel.init.channel, error::INVALID_SEQ));
    device.write_report(&message[0]).unwrap();
    assert_eq!(next_error(&device), (channel.init.channel, error::MSG_TIMEOUT));
    // INIT gives up what was begun, without an error.
    device.write_report(&message[0]).unwrap();
    init(&device, channel.init.channel, *b"nonce  5").unwrap();
    assert_eq!(channel.call(command::PING, &[7; 300]).unwrap(), [7; 300]);
}

#[test]
fn one_client_at_a_time_and_nobody_is_disturbed() {
    let (_simulator, device) = attached();
    let [one, two] = [(); 2].map(|()| Channel::open(&device).unwrap());
    let message = packets(one.init.channel, command::PING, &[9; 200], None);
    device.write_report(&message[0]).unwrap();
    // The other client hears that it must wait; a third one gets its channel at once.
    write(&device, two.init.channel, command::PING, b"me too");
    assert_eq!(next_error(&device), (two.init.channel, error::CHANNEL_BUSY));
    write(&device, BROADCAST, command::INIT, b"nonce  6");
    let answer = read_message(&device, deadline(Duration::from_secs(20))).unwrap();
    parse_init(&answer, BROADCAST, *b"nonce  6").unwrap();
    for packet in &message[1..] {
        device.write_report(packet).unwrap();
    }
    assert_eq!(one.receive(command::PING).unwrap().0, [9; 200]);
    assert_eq!(two.call(command::PING, b"me too").unwrap(), b"me too");
}

#[test]
fn a_host_that_waits_for_a_touch_is_kept_waiting_and_can_change_its_mind() {
    let simulator = Simulator::in_terminal(&["--image", ":memory:"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    let other = Channel::open(key.device()).unwrap();
    let request = MakeCredential::new("example.com").parameters().encode();

    key.send(ctap2::MAKE_CREDENTIAL, &request).unwrap();
    // Keep-alives go on; three of them are enough to know.
    (0..3).for_each(|_| key.channel().wait_for_prompt().unwrap());
    key.channel().cancel().unwrap();
    key.channel().cancel().unwrap();
    assert_eq!(key.receive().unwrap_err().status(), Some(status::KEEPALIVE_CANCEL));
    key.channel().expect_silence(QUIET).unwrap();

    // INIT on the channel itself ends the wait, too, and the question's answer goes nowhere.
    key.send(ctap2::SELECTION, &[]).unwrap();
    key.channel().wait_for_prompt().unwrap();
    write(key.device(), key.channel().init.channel, command::INIT, b"nonce  7");
    loop {
        let message = read_message(key.device(), deadline(Duration::from_secs(20))).unwrap();
        if message.command != command::KEEPALIVE {
            parse_init(&message, key.channel().init.channel, *b"nonce  7").unwrap();
            break;
        }
    }
    assert_eq!(other.call(command::PING, b"free").unwrap(), b"free");
    key.get_info().unwrap();
}
