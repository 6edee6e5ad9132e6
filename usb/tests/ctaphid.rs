//! CTAPHID on the wire: channels and messages (CTAP 2.3 §11.2.3 to §11.2.5).

mod common;

use common::*;
use std::collections::HashSet;

// INIT and channels.

#[test]
fn init_gives_fresh_channels() {
    let mut wire = Wire::new();
    let channels: Vec<u32> = (0..1000).map(|_| wire.open()).collect();
    let distinct: HashSet<u32> = channels.iter().copied().collect();
    assert_eq!(distinct.len(), channels.len());
    assert!(!distinct.contains(&0) && !distinct.contains(&BROADCAST));
    // The first is as good as the last.
    wire.assert_serves(channels[0]);
    wire.assert_serves(channels[999]);
}

#[test]
fn init_announces_wink_and_cbor_and_the_version() {
    let mut wire = Wire::new();
    let answer = wire.transact(BROADCAST, INIT, b"12345678").unwrap();
    assert_eq!(answer.channel, BROADCAST);
    assert_eq!(answer.data.len(), 17);
    assert_eq!(&answer.data[..8], b"12345678");
    assert_eq!(answer.data[12..], [2, 5, 6, 7, 0x01 | 0x04]);
    wire.assert_idle();
}

#[test]
fn init_on_its_channel_ends_a_wait_for_a_touch() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.app_waits_for_user(true);
    assert_eq!(wire.receive(), Some(Message::keepalive(one, UPNEEDED)));
    wire.init(one);
    assert!(wire.cancelled && wire.link.is_cancelled());
    wire.advance(300);
    wire.assert_idle();
    wire.app_waits_for_user(false);
    wire.app_answers(b"\x2D");
    wire.assert_idle();
    wire.assert_serves(one);
}

#[test]
fn init_on_its_channel_ends_a_message_that_comes_in() {
    let mut wire = Wire::new();
    let one = wire.open();
    let message = Message::new(one, CBOR, &pattern(7609));
    let packets = message.packets();
    for count in [1, 2, 100, 128] {
        for packet in &packets[..count] {
            wire.send_packet(packet);
        }
        wire.init(one);
        wire.assert_idle();
        wire.send_packet(&packets[count]);
        wire.assert_idle();
    }
    wire.assert_serves(one);
}

#[test]
fn init_on_its_channel_ends_an_answer_that_goes_out() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.send(one, PING, &pattern(7609));
    for _ in 0..3 {
        wire.take_packet().unwrap();
    }
    wire.send(one, INIT, &[7; 8]);
    // One packet was in the air already.
    let in_the_air = wire.take_packet().unwrap();
    assert_eq!((in_the_air[0..4].to_vec(), in_the_air[4]), (one.to_be_bytes().to_vec(), 2));
    let answer = wire.receive().unwrap();
    assert_eq!((answer.channel, answer.command, &answer.data[..8]), (one, INIT, &[7; 8][..]));
    wire.assert_idle();
    wire.assert_serves(one);
}

#[test]
fn every_init_is_answered() {
    let mut wire = Wire::new();
    let one = wire.open();
    for nonce in 0..20 {
        wire.bus.host_sends(FIDO, &Message::new(one, INIT, &[nonce; 8]).packets()[0]);
    }
    wire.poll();
    for nonce in 0..20 {
        assert_eq!(wire.receive().unwrap().data[..8], [nonce; 8]);
    }
    wire.assert_idle();
}

// Messages.

#[test]
fn ping_of_every_length_echoes() {
    let mut wire = Wire::new();
    let one = wire.open();
    for length in (0..=240).chain((241..7609).step_by(97)).chain([7549, 7550, 7551, 7608, 7609]) {
        let answer = wire.transact(one, PING, &pattern(length));
        assert_eq!(answer, Some(Message::new(one, PING, &pattern(length))), "{length}");
        wire.assert_idle();
    }
}

#[test]
fn longer_than_the_longest_is_an_error() {
    let mut wire = Wire::new();
    let one = wire.open();
    for command in [PING, MSG, CBOR, WINK] {
        for length in [7610, 7667, 0x8000, 65535] {
            wire.send_packet(&begin(one, command, length));
            assert_eq!(wire.receive(), Some(Message::error(one, INVALID_LEN)));
            wire.assert_idle();
        }
    }
    wire.assert_serves(one);
}

#[test]
fn a_board_takes_shorter_messages() {
    let mut wire = Wire::<2048>::with_max();
    let one = wire.open();
    let longest = pattern(2048);
    assert_eq!(wire.transact(one, PING, &longest), Some(Message::new(one, PING, &longest)));
    wire.start_cbor(one, &longest);
    wire.app_answers(&longest);
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, &longest)));
    wire.send_packet(&begin(one, PING, 2049));
    assert_eq!(wire.receive(), Some(Message::error(one, INVALID_LEN)));
    wire.assert_serves(one);
}

#[test]
fn the_longest_requests_and_answers_pass() {
    let mut wire = Wire::new();
    let one = wire.open();
    for command in [MSG, CBOR] {
        wire.send(one, command, &pattern(7609));
        assert!(std::mem::take(&mut wire.request_ready));
        assert_eq!(wire.app_takes(), Some((command, pattern(7609))));
        let answer: Vec<u8> = pattern(7609).into_iter().rev().collect();
        wire.app_answers(&answer);
        assert_eq!(wire.receive(), Some(Message::new(one, command, &answer)));
        wire.assert_idle();
    }
}

#[test]
fn an_empty_answer_is_one_packet() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.send(one, WINK, b"");
    assert_eq!(wire.app_takes(), Some((WINK, vec![])));
    wire.app_answers(b"");
    assert_eq!(wire.receive(), Some(Message::new(one, WINK, b"")));
    wire.assert_idle();
}

#[test]
fn what_the_application_refuses_is_an_error() {
    use ctaphid_dispatch::app::Error;
    let mut wire = Wire::new();
    let one = wire.open();
    for (error, code) in [(Error::InvalidLength, INVALID_LEN), (Error::InvalidCommand, INVALID_CMD)] {
        wire.start_cbor(one, b"");
        wire.app_says(Err(error));
        assert_eq!(wire.receive(), Some(Message::error(one, code)));
        wire.assert_serves(one);
    }
}

#[test]
fn a_wrong_sequence_ends_the_message() {
    let mut wire = Wire::new();
    let one = wire.open();
    let packets = Message::new(one, PING, &pattern(7609)).packets();
    // (how many packets in order, then which sequence number)
    for (count, sequence) in [(1, 1), (1, 127), (2, 0), (2, 2), (3, 1), (128, 126), (128, 0)] {
        for packet in &packets[..count] {
            wire.send_packet(packet);
        }
        wire.send_packet(&continuation(one, sequence, b"x"));
        assert_eq!(wire.receive(), Some(Message::error(one, INVALID_SEQ)), "{count} {sequence}");
        wire.assert_idle();
        wire.assert_serves(one);
    }
}

#[test]
fn a_command_instead_of_a_continuation_ends_the_message() {
    let mut wire = Wire::new();
    let one = wire.open();
    for command in [PING, MSG, CBOR, WINK, LOCK, 0x55] {
        wire.send_packet(&begin(one, PING, 100));
        wire.send_packet(&begin(one, command, 0));
        assert_eq!(wire.receive(), Some(Message::error(one, INVALID_SEQ)));
        wire.assert_idle();
    }
    wire.assert_serves(one);
}

#[test]
fn a_missing_continuation_times_out() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.send_packet(&begin(one, CBOR, 100));
    assert_eq!(wire.poll.deadline, Some(wire.now + 500));
    wire.advance(499);
    wire.assert_silent();
    wire.advance(1);
    assert_eq!(wire.take_packet(), Some(Message::error(one, MSG_TIMEOUT).packets()[0]));
    wire.assert_idle();
    wire.assert_serves(one);
}

#[test]
fn a_packet_that_came_in_time_counts_though_it_is_seen_late() {
    let mut wire = Wire::new();
    let one = wire.open();
    let ping = Message::new(one, PING, &pattern(100));
    let packets = ping.packets();
    wire.send_packet(&packets[0]);
    // The host sends at once; the device is not polled for a second.
    wire.bus.host_sends(FIDO, &packets[1]);
    wire.now += 1000;
    wire.poll();
    assert_eq!(wire.receive(), Some(ping));
}

#[test]
fn unknown_commands_are_errors() {
    let mut wire = Wire::new();
    let one = wire.open();
    for command in 0..0x80 {
        if [PING, MSG, INIT, WINK, CBOR, CANCEL].contains(&command) {
            continue;
        }
        assert_eq!(wire.transact(one, command, b"x"), Some(Message::error(one, INVALID_CMD)), "{command:#x}");
        wire.assert_idle();
    }
    assert!(!wire.request_ready);
}

#[test]
fn short_reports_are_dropped() {
    let mut wire = Wire::new();
    let one = wire.open();
    let ping = Message::new(one, PING, b"x");
    for length in [0, 1, 7, 63] {
        wire.send_packet(&ping.packets()[0][..length]);
        wire.assert_idle();
    }
    // And the packet behind one is not stuck.
    wire.bus.host_sends(FIDO, &[]);
    wire.bus.host_sends(FIDO, &ping.packets()[0]);
    wire.poll();
    assert_eq!(wire.receive(), Some(ping));
}
