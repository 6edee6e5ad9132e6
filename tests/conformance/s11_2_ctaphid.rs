//! CTAPHID (CTAP 2.3 §11.2).

use std::sync::Arc;
use std::time::Duration;

use brasskey_tests::ctap2::{MakeCredential, command as ctap2, status};
use brasskey_tests::ctaphid::{
    BROADCAST, Channel, Message, UPNEEDED, command, error, packets, parse_init, read_message,
};
use brasskey_tests::usb::{Device, deadline};
use brasskey_tests::{Error, Key, Simulator};

use crate::{SITE, attached, info_number, refused};

/// Long enough for an answer that must not come.
const QUIET: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

fn write(device: &Device, channel: u32, command: u8, data: &[u8]) {
    packets(channel, command, data, None).iter().for_each(|packet| device.write_report(packet).unwrap());
}

fn next(device: &Device) -> Message {
    read_message(device, deadline(PATIENCE)).unwrap()
}

/// The code of the error that comes next, and its channel.
#[track_caller]
fn next_error(device: &Device) -> (u32, u8) {
    let message = next(device);
    assert_eq!((message.command, message.data.len()), (command::ERROR, 1), "{message:02x?}");
    (message.channel, message.data[0])
}

fn waiting() -> (Simulator, Key) {
    let simulator = Simulator::in_terminal(&["--image", ":memory:"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    (simulator, key)
}

/// Covers: §11.2.8; command CTAPHID_INIT
#[test]
fn the_report_descriptor_and_the_endpoints() {
    let (_simulator, key) = attached();
    let device = key.device();
    // Usage page 0xF1D0, reports of 64 bytes, one interrupt endpoint each way: attaching demands it.
    assert_eq!(device.format.usage, (0xf1d0, 1));
    assert_eq!([device.format.input.0, device.format.output.0], [64, 64]);
    key.channel().expect_silence(QUIET).unwrap();
}

/// Covers: §11.2.9.1.3; command CTAPHID_INIT; error ERR_INVALID_LEN; error ERR_INVALID_CHANNEL
#[test]
fn init_gives_channels() {
    let (_simulator, key) = attached();
    let device = key.device();
    let first = open(device);
    let second = open(device);
    assert_ne!(first, second);
    // On a channel it keeps that channel, whether it was given out or not.
    for channel in [first, 0x1234_5678] {
        assert_eq!(brasskey_tests::ctaphid::init(device, channel, *b"nonce  3").unwrap().channel, channel);
        write(device, channel, command::PING, b"usable");
        assert_eq!(next(device).data, b"usable");
    }
    for length in [0, 7, 9] {
        write(device, BROADCAST, command::INIT, &vec![1; length]);
        assert_eq!(next_error(device), (BROADCAST, error::INVALID_LEN));
    }
    write(device, 0, command::INIT, b"nonce  4");
    assert_eq!(next_error(device), (0, error::INVALID_CHANNEL));
}

fn open(device: &Arc<Device>) -> u32 {
    let opened = init_on_broadcast(device);
    assert!(![0, BROADCAST].contains(&opened.channel));
    assert_eq!(opened.protocol, 2);
    assert_eq!(opened.capabilities & !0x0d, 0, "bits that mean nothing");
    assert_eq!(opened.capabilities & 0x04, 0x04, "CBOR");
    opened.channel
}

fn init_on_broadcast(device: &Arc<Device>) -> brasskey_tests::ctaphid::Init {
    brasskey_tests::ctaphid::init(device, BROADCAST, *b"a nonce!").unwrap()
}

/// Covers: §11.2.9.1.4; command CTAPHID_PING; member maxMsgSize; error ERR_INVALID_LEN
#[test]
fn ping_echoes_all_lengths() {
    let (_simulator, key) = attached();
    let most = info_number(&key, 0x05) as usize;
    for length in [0, 1, 56, 57, 58, 57 + 59, 57 + 60, 1000, most] {
        let data: Vec<u8> = (0..length).map(|at| (at * 7 + at / 251) as u8).collect();
        assert_eq!(key.channel().call(command::PING, &data).unwrap(), data);
    }
    let too_long = packets(key.channel().init.channel, command::PING, &[0; 57], Some(most as u16 + 1));
    key.device().write_report(&too_long[0]).unwrap();
    assert_eq!(next_error(key.device()), (key.channel().init.channel, error::INVALID_LEN));
}

/// Covers: §11.2.9.2.1; §11.2.9.1.6; command CTAPHID_WINK; command CTAPHID_ERROR; error ERR_INVALID_CMD;
/// error ERR_INVALID_LEN
#[test]
fn commands() {
    let (_simulator, key) = attached();
    let channel = key.channel();
    let refused = |command, data: &[u8]| match channel.call(command, data) {
        Err(Error::Ctaphid(code)) => code,
        other => panic!("{command:#04x}: {other:02x?}"),
    };
    for unknown in [0x00, 0x02, 0x05, 0x3b, 0x3f, 0x40, 0x7f] {
        assert_eq!(refused(unknown, b""), error::INVALID_CMD, "{unknown:#04x}");
    }
    assert_eq!(refused(command::CBOR, b""), error::INVALID_LEN);
    if channel.init.capabilities & 1 == 1 {
        assert_eq!(channel.call(command::WINK, b"").unwrap(), b"");
    } else {
        assert_eq!(refused(command::WINK, b""), error::INVALID_CMD);
    }
    channel.expect_silence(QUIET).unwrap();
}

/// Covers: §11.2.4; error ERR_INVALID_CHANNEL
#[test]
fn channels_that_are_not_open() {
    let (_simulator, key) = attached();
    for channel in [0, BROADCAST, 0x0bad_cafe] {
        for command in [command::PING, command::MSG, command::CBOR] {
            write(key.device(), channel, command, b"hello");
            assert_eq!(next_error(key.device()), (channel, error::INVALID_CHANNEL));
        }
    }
}

/// Covers: §11.2.5.4; error ERR_INVALID_SEQ; error ERR_MSG_TIMEOUT; command CTAPHID_CANCEL
#[test]
fn packets_out_of_order_or_missing() {
    let (_simulator, key) = attached();
    let (device, channel) = (key.device(), key.channel().init.channel);
    let message = packets(channel, command::PING, &[7; 300], None);
    // A continuation out of nowhere, and a CANCEL with nothing to cancel: silence.
    device.write_report(&message[1]).unwrap();
    key.channel().cancel().unwrap();
    key.channel().expect_silence(QUIET).unwrap();
    for wrong in [2, 3] {
        device.write_report(&message[0]).unwrap();
        device.write_report(&message[wrong]).unwrap();
        assert_eq!(next_error(device), (channel, error::INVALID_SEQ));
    }
    // A new message instead of the next packet.
    device.write_report(&message[0]).unwrap();
    device.write_report(&message[0]).unwrap();
    assert_eq!(next_error(device), (channel, error::INVALID_SEQ));
    device.write_report(&message[0]).unwrap();
    assert_eq!(next_error(device), (channel, error::MSG_TIMEOUT));
    assert_eq!(key.channel().call(command::PING, &[7; 300]).unwrap(), [7; 300]);
}

/// Covers: §11.2.5.1; §11.2.5.3; error ERR_CHANNEL_BUSY; command CTAPHID_INIT
#[test]
fn one_message_at_a_time() {
    let (_simulator, key) = attached();
    let device = key.device();
    let other = Channel::open(device).unwrap();
    let message = packets(key.channel().init.channel, command::PING, &[9; 200], None);
    device.write_report(&message[0]).unwrap();
    write(device, other.init.channel, command::PING, b"me too");
    assert_eq!(next_error(device), (other.init.channel, error::CHANNEL_BUSY));
    // Busy is said before anything else that is wrong with it.
    write(device, 0x0bad_cafe, command::PING, b"nor I");
    assert_eq!(next_error(device), (0x0bad_cafe, error::CHANNEL_BUSY));
    // INIT is answered meanwhile, and disturbs nothing.
    write(device, BROADCAST, command::INIT, b"nonce  6");
    parse_init(&next(device), BROADCAST, *b"nonce  6").unwrap();
    message[1..].iter().for_each(|packet| device.write_report(packet).unwrap());
    assert_eq!(key.channel().receive(command::PING).unwrap().0, [9; 200]);
    assert_eq!(other.call(command::PING, b"me too").unwrap(), b"me too");
}

/// Covers: §11.2.9.1.7; §11.2.9.1.5; command CTAPHID_KEEPALIVE; command CTAPHID_CANCEL; status KEEPALIVE_CANCEL
#[test]
fn a_wait_for_a_touch() {
    let (_simulator, key) = waiting();
    let channel = key.channel();
    for request in [
        (ctap2::MAKE_CREDENTIAL, MakeCredential::new(SITE).parameters().encode()),
        (ctap2::SELECTION, vec![]),
        (ctap2::RESET, vec![]),
    ] {
        key.send(request.0, &request.1).unwrap();
        for _ in 0..3 {
            channel.wait_for_prompt().unwrap();
        }
        channel.cancel().unwrap();
        channel.cancel().unwrap();
        assert_eq!(refused(key.receive()), status::KEEPALIVE_CANCEL);
        channel.expect_silence(QUIET).unwrap();
    }
}

/// Covers: §11.2.9.1.5; §11.2.5.3; error ERR_CHANNEL_BUSY; command CTAPHID_CANCEL
#[test]
fn others_do_not_end_a_wait() {
    let (_simulator, key) = waiting();
    let device = key.device();
    let other = Channel::open(device).unwrap();
    key.send(ctap2::SELECTION, &[]).unwrap();
    key.channel().wait_for_prompt().unwrap();
    other.cancel().unwrap();
    write(device, other.init.channel, command::PING, b"hello");
    let answers = |channel: u32| loop {
        let message = next(device);
        if message.command != command::KEEPALIVE {
            assert_eq!(message.channel, channel, "{message:02x?}");
            return message;
        }
        assert_eq!(message.data, [UPNEEDED]);
    };
    assert_eq!(answers(other.init.channel).data, [error::CHANNEL_BUSY]);
    write(device, BROADCAST, command::INIT, b"nonce  8");
    parse_init(&answers(BROADCAST), BROADCAST, *b"nonce  8").unwrap();
    key.channel().wait_for_prompt().unwrap();
    // INIT on its own channel does end it, and nobody hears of the request again.
    let own = key.channel().init.channel;
    write(device, own, command::INIT, b"nonce  9");
    parse_init(&answers(own), own, *b"nonce  9").unwrap();
    assert_eq!(other.call(command::PING, b"free").unwrap(), b"free");
    key.get_info().unwrap();
}
