//! One test for each row of the list of what usbd-ctaphid 0.5.0 does otherwise than CTAP 2.3 §11.2 wants, on the
//! wire. A row that a later release mends can be tried without the gate's part for it.

mod common;

use brasskey_usb::{Channel, DeviceConfig, Link};
use common::bus::Event;
use common::*;
use usb_device::UsbError;

#[test]
fn init_on_a_channel_keeps_that_channel() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    assert_ne!(one, two);
    assert_eq!(wire.init(one), one);
    assert_eq!(wire.init(two), two);
    wire.assert_serves(one);
    wire.assert_serves(two);
}

#[test]
fn init_on_a_channel_that_was_never_given_makes_it_usable() {
    let mut wire = Wire::new();
    for channel in [0x1234_5678, 1, BROADCAST - 1] {
        assert_eq!(wire.transact(channel, PING, b""), Some(Message::error(channel, INVALID_CHANNEL)));
        assert_eq!(wire.init(channel), channel);
        wire.assert_serves(channel);
    }
}

#[test]
fn init_on_a_channel_ends_only_what_runs_there() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    wire.start_cbor(one, b"\x04");
    assert_eq!(wire.init(two), two);
    assert!(!wire.link.is_cancelled());
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
    wire.assert_idle();
}

#[test]
fn init_on_broadcast_disturbs_nothing() {
    let mut wire = Wire::new();
    let one = wire.open();

    // While a message is assembled,
    let ping = Message::new(one, PING, &pattern(150));
    let packets = ping.packets();
    wire.send_packet(&packets[0]);
    let two = wire.open();
    wire.send_packet(&packets[1]);
    assert_ne!(wire.open(), two);
    wire.send_packet(&packets[2]);
    assert_eq!(wire.receive(), Some(ping));

    // while the application has it,
    wire.start_cbor(one, b"\x01");
    wire.app_waits_for_user(true);
    assert_eq!(wire.receive(), Some(Message::keepalive(one, UPNEEDED)));
    wire.open();
    assert!(!wire.link.is_cancelled());

    // while the answer goes out.
    wire.responder.as_mut().unwrap().respond(Ok(pattern(150)[..].try_into().unwrap()).into()).unwrap();
    wire.send(BROADCAST, INIT, &[9; 8]);
    let mut packets = std::iter::from_fn(|| wire.wait_packet()).collect::<Vec<_>>();
    let init = packets.iter().position(|packet| packet[..4] == [0xFF; 4]).expect("INIT is answered");
    packets.remove(init);
    assert_eq!(packets, Message::new(one, CBOR, &pattern(150)).packets());
    wire.assert_serves(one);
}

#[test]
fn channels_are_checked() {
    let mut wire = Wire::new();
    let one = wire.open();
    for channel in [0, BROADCAST, one + 1, 0xDEAD_BEEF] {
        for command in [PING, MSG, CBOR, WINK, LOCK, 0x55] {
            assert_eq!(
                wire.transact(channel, command, b"x"),
                Some(Message::error(channel, INVALID_CHANNEL)),
                "{channel:#x} {command:#x}"
            );
        }
        assert_eq!(
            wire.transact(channel, PING, &pattern(7609)),
            Some(Message::error(channel, INVALID_CHANNEL)),
            "once, however long the message"
        );
        wire.assert_idle();
    }
    assert_eq!(wire.transact(0, INIT, &[1; 8]), Some(Message::error(0, INVALID_CHANNEL)));
    assert!(!wire.request_ready);
}

#[test]
fn busy_is_said_before_an_invalid_channel() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    for channel in [0, BROADCAST, one + 1] {
        assert_eq!(wire.transact(channel, PING, b"x"), Some(Message::error(channel, CHANNEL_BUSY)));
    }
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
}

#[test]
fn a_stray_continuation_is_dropped_in_silence() {
    let mut wire = Wire::new();
    let one = wire.open();
    for channel in [one, one + 1, 0, BROADCAST] {
        for sequence in [0, 1, 127] {
            wire.send_packet(&continuation(channel, sequence, b"stray"));
            wire.assert_idle();
        }
    }
    wire.start_cbor(one, b"\x01");
    wire.send_packet(&continuation(one, 0, b"stray"));
    wire.assert_silent();
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
    wire.assert_serves(one);
}

#[test]
fn init_of_another_length_is_an_error() {
    let mut wire = Wire::new();
    let one = wire.open();
    for channel in [BROADCAST, one] {
        for length in [0, 7, 9, 57, 58, 7609, 65535] {
            wire.send_packet(&begin(channel, INIT, length));
            assert_eq!(wire.receive(), Some(Message::error(channel, INVALID_LEN)), "{length}");
            wire.assert_idle();
        }
    }
    // It ends nothing either.
    wire.start_cbor(one, b"\x01");
    wire.send_packet(&begin(one, INIT, 7));
    assert_eq!(wire.receive(), Some(Message::error(one, INVALID_LEN)));
    assert!(!wire.link.is_cancelled());
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
}

#[test]
fn lock_is_an_invalid_command() {
    let mut wire = Wire::new();
    let one = wire.open();
    assert_eq!(wire.transact(one, LOCK, b"\x0A"), Some(Message::error(one, INVALID_CMD)));
    assert_eq!(wire.app_takes(), None);
    wire.assert_idle();
}

#[test]
fn a_short_answer_waits_for_a_busy_endpoint() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    wire.start_cbor(one, b"\x01");
    // Nobody reads: the endpoint is busy with the keep-alive when the answers come.
    wire.app_waits_for_user(true);
    wire.send(two, PING, b"busy?");
    wire.app_answers(b"\0short");
    wire.send(two, PING, b"hello");
    assert_eq!(wire.receive(), Some(Message::keepalive(one, UPNEEDED)));
    assert_eq!(wire.receive(), Some(Message::error(two, CHANNEL_BUSY)));
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0short")));
    assert_eq!(wire.receive(), Some(Message::new(two, PING, b"hello")));
    wire.assert_idle();
}

#[test]
fn a_short_answer_finds_room_however_many_packets_wait() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    for intruders in 0..10 {
        wire.start_cbor(one, b"\x01");
        for _ in 0..intruders {
            wire.bus.host_sends(FIDO, &Message::new(two, PING, b"x").packets()[0]);
        }
        wire.poll();
        wire.app_answers(b"\0");
        let heard: Vec<Message> = std::iter::from_fn(|| wire.receive()).collect();
        assert_eq!(heard.len(), 1 + intruders);
        assert_eq!(heard.iter().filter(|message| **message == Message::new(one, CBOR, b"\0")).count(), 1);
    }
}

#[test]
fn unexpected_usb_errors_lose_nothing() {
    let mut wire = Wire::new();
    let one = wire.open();
    for error in
        [UsbError::InvalidEndpoint, UsbError::BufferOverflow, UsbError::InvalidState, UsbError::WouldBlock]
    {
        wire.bus.fail_writes(Some(error));
        let ping = Message::new(one, PING, &pattern(300));
        wire.send(one, PING, &ping.data);
        wire.advance(50);
        assert_eq!(wire.take_packet(), None);
        wire.bus.fail_writes(None);
        wire.poll();
        assert_eq!(wire.receive(), Some(ping));
        wire.assert_idle();
    }
}

#[test]
fn busy_has_its_code() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    wire.start_cbor(one, b"\x01");
    assert_eq!(wire.transact(two, CBOR, b"\x04"), Some(Message::error(two, CHANNEL_BUSY)));
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
}

/// usbd-ctaphid says busy itself while the application still has a request from before the device was made.
#[test]
fn busy_of_the_class_has_its_code_and_leaves_the_class_idle() {
    let channel: &'static Channel<N> = Box::leak(Box::new(Channel::new()));
    let link: &'static Link = Box::leak(Box::new(Link::new()));
    let config = DeviceConfig { version: [5, 6, 7], ..DeviceConfig::default() };
    let mut before = Wire::on_channel(config, channel, link);
    let one = before.open();
    before.start_cbor(one, b"\x01");
    let responder = before.responder.take();
    drop(before.device);
    assert!(link.is_cancelled(), "nobody is there to answer");

    let mut wire = Wire::on_channel(config, channel, link);
    wire.responder = responder;
    let one = wire.open();
    for length in [1, 57, 58, 116, 117, 7609] {
        let answer = wire.transact(one, CBOR, &pattern(length));
        assert_eq!(answer, Some(Message::error(one, CHANNEL_BUSY)), "{length}");
        assert!(link.is_cancelled(), "the old request must end");
        wire.assert_idle();
    }
    let responder = wire.responder.as_mut().unwrap();
    assert!(responder.is_canceled());
    responder.acknowledge_cancel().unwrap();
    wire.assert_serves(one);
}

#[test]
fn an_intruder_does_not_kill_the_running_transaction() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    let ping = Message::new(one, PING, &pattern(150));
    let packets = ping.packets();
    wire.send_packet(&packets[0]);
    for command in [PING, CBOR, LOCK, 0x55, ERROR] {
        assert_eq!(wire.transact(two, command, b"x"), Some(Message::error(two, CHANNEL_BUSY)));
    }
    // A foreign continuation, of wrong sequence or right.
    wire.send_packet(&continuation(two, 5, b"x"));
    wire.send_packet(&continuation(two, 0, b"x"));
    wire.assert_silent();
    wire.send_packet(&packets[1]);
    wire.send_packet(&packets[2]);
    assert_eq!(wire.receive(), Some(ping));

    wire.start_cbor(one, b"\x01");
    for (channel, command) in [(two, CBOR), (two, LOCK), (two, 0x55), (one, CBOR), (one, PING), (one, 0x55)] {
        assert_eq!(wire.transact(channel, command, b"x"), Some(Message::error(channel, CHANNEL_BUSY)));
    }
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
    wire.assert_idle();
}

#[test]
fn packets_that_arrive_while_it_sends_are_answered() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    let ping = Message::new(one, PING, &pattern(1000));
    wire.send(one, PING, &ping.data);
    // The answer is on its way. Each of these has one, in between.
    wire.send(two, PING, b"x");
    wire.send(BROADCAST, INIT, &[3; 8]);
    wire.send(0, PING, b"x");
    let mut packets = std::iter::from_fn(|| wire.wait_packet()).collect::<Vec<_>>();
    for wanted in [Message::error(two, CHANNEL_BUSY), Message::error(0, CHANNEL_BUSY)] {
        let at = packets.iter().position(|packet| *packet == wanted.packets()[0]).expect("answered");
        packets.remove(at);
    }
    let at = packets.iter().position(|packet| packet[..4] == [0xFF; 4]).expect("INIT is answered");
    packets.remove(at);
    assert_eq!(packets, ping.packets());
    wire.assert_serves(two);
}

#[test]
fn a_usb_reset_empties_everything() {
    // A message half assembled.
    let mut wire = Wire::new();
    let one = wire.open();
    wire.send_packet(&begin(one, PING, 100));
    wire.reset();
    wire.assert_idle();
    assert_eq!(
        wire.transact(one, PING, b"x"),
        Some(Message::error(one, INVALID_CHANNEL)),
        "channels are closed"
    );
    let two = wire.open();
    assert_ne!(two, one, "nobody mistakes the new host's channel for his own");
    wire.assert_serves(two);

    // Answers that nobody fetched.
    for length in [10, 7609] {
        let one = wire.open();
        wire.send(one, PING, &pattern(length));
        wire.send(one, PING, b"x");
        wire.reset();
        wire.assert_idle();
        let one = wire.open();
        wire.assert_serves(one);
    }

    // A request that the application has, and answers to the wrong host.
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.app_waits_for_user(true);
    wire.bus.raise(Event::Reset);
    wire.cancelled = false;
    wire.poll();
    assert!(wire.cancelled && wire.link.is_cancelled());
    wire.assert_idle();
    let two = wire.open();
    wire.app_waits_for_user(false);
    wire.app_answers(&pattern(500));
    wire.assert_idle();
    wire.assert_serves(two);

    // A command that was held for it.
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.init(one);
    wire.send(one, PING, b"held");
    wire.reset();
    wire.app_answers(b"\0");
    wire.assert_idle();
    let one = wire.open();
    wire.assert_serves(one);
}

#[test]
fn cancel_before_the_application_has_started_is_not_lost() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.send(one, CBOR, b"\x01");
    wire.send(one, CANCEL, b"");
    assert!(wire.cancelled);
    wire.advance(1000);
    // Only now the application has time.
    assert_eq!(wire.app_takes(), Some((CBOR, b"\x01".to_vec())));
    assert!(wire.link.is_cancelled());
    wire.app_answers(b"\x2D");
    while wire.take_packet().is_some_and(|packet| packet[4] == 0x80 | KEEPALIVE) {}
    // The last of them was the answer. The next request is not cancelled.
    wire.assert_idle();
    wire.assert_serves(one);

    // The same in one go, before the device looks even once.
    for packet in [Message::new(one, CBOR, b"\x01"), Message::new(one, CANCEL, b"")] {
        wire.bus.host_sends(FIDO, &packet.packets()[0]);
    }
    wire.poll();
    assert_eq!(wire.app_takes(), Some((CBOR, b"\x01".to_vec())));
    assert!(wire.link.is_cancelled());
    wire.app_answers(b"\x2D");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\x2D")));
    wire.assert_serves(one);
}

#[test]
fn the_time_out_counts_from_the_last_packet_of_that_channel() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    let ping = Message::new(one, PING, &pattern(57 + 3 * 59));
    let packets = ping.packets();
    // Far longer in sum than one time-out, each gap shorter.
    for packet in &packets[..3] {
        wire.advance(499);
        wire.assert_silent();
        wire.send_packet(packet);
    }
    // Others do not lengthen it,
    wire.advance(400);
    assert_eq!(wire.transact(two, PING, b"x"), Some(Message::error(two, CHANNEL_BUSY)));
    wire.send_packet(&continuation(two, 2, b"x"));
    wire.init(two);
    wire.send(one, CANCEL, b"");
    wire.advance(99);
    wire.assert_silent();
    // nor shorten it.
    wire.advance(1);
    assert_eq!(wire.take_packet(), Some(Message::error(one, MSG_TIMEOUT).packets()[0]));
    wire.assert_idle();
    wire.send_packet(&packets[3]);
    wire.assert_idle();
    wire.assert_serves(one);
}

#[test]
fn the_time_out_does_not_wrap_or_forgive() {
    let mut wire = Wire::new();
    // Past the point where a counter of 32 bits starts again, and long gaps between the polls.
    wire.now = u64::from(u32::MAX) - 200;
    wire.poll();
    let one = wire.open();
    wire.send_packet(&begin(one, PING, 100));
    assert_eq!(wire.poll.deadline, Some(u64::from(u32::MAX) + 300));
    wire.now += 10_000;
    wire.poll();
    assert_eq!(wire.receive(), Some(Message::error(one, MSG_TIMEOUT)));
    wire.assert_serves(one);
}
