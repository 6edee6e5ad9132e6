//! CTAPHID as CTAP 2.3 §11.2 describes it, on the wire.

mod common;

use common::bus::Event;
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

// Keep-alives.

#[test]
fn keepalive_at_once_when_a_touch_is_awaited_then_every_100_ms() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.advance(42);
    wire.assert_silent();
    wire.app_waits_for_user(true);
    assert_eq!(wire.receive(), Some(Message::keepalive(one, UPNEEDED)));
    for _ in 0..20 {
        wire.advance(99);
        wire.assert_silent();
        wire.advance(1);
        assert_eq!(wire.take_packet(), Some(Message::keepalive(one, UPNEEDED).packets()[0]));
        wire.assert_silent();
    }
    wire.advance(30);
    wire.app_waits_for_user(false);
    assert_eq!(
        wire.receive(),
        Some(Message::keepalive(one, PROCESSING)),
        "a change of status is told at once"
    );
    wire.advance(99);
    wire.assert_silent();
    wire.advance(1);
    assert_eq!(wire.take_packet(), Some(Message::keepalive(one, PROCESSING).packets()[0]));
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
    wire.assert_idle();
}

#[test]
fn keepalive_for_a_long_computation() {
    let mut wire = Wire::new();
    let one = wire.open();
    // Also when the application is not even there to take the request.
    wire.send(one, CBOR, b"\x01");
    for _ in 0..5 {
        wire.advance(99);
        wire.assert_silent();
        wire.advance(1);
        assert_eq!(wire.take_packet(), Some(Message::keepalive(one, PROCESSING).packets()[0]));
    }
    wire.app_takes().unwrap();
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
    wire.assert_idle();
}

#[test]
fn no_keepalive_for_a_short_computation_or_u2f() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.advance(99);
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
    wire.assert_idle();

    wire.send(one, MSG, b"\0\x03\0\0");
    wire.app_takes().unwrap();
    assert_eq!(wire.poll.deadline, None);
    wire.advance(1000);
    wire.assert_idle();
    wire.app_answers(b"U2F_V2\x90\0");
    assert_eq!(wire.receive(), Some(Message::new(one, MSG, b"U2F_V2\x90\0")));
}

#[test]
fn keepalives_do_not_pile_up_before_a_host_that_does_not_read() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.app_waits_for_user(true);
    let polls = wire.polls;
    wire.advance(10_000);
    assert!(wire.polls - polls <= 102, "only once in 100 ms");
    wire.app_waits_for_user(false);
    wire.app_answers(b"\0");
    // One was in the air, one behind it.
    assert_eq!(wire.receive(), Some(Message::keepalive(one, UPNEEDED)));
    assert_eq!(wire.receive(), Some(Message::keepalive(one, UPNEEDED)));
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
    wire.assert_idle();
}

#[test]
fn a_change_of_status_is_told_when_the_endpoint_is_free_again() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    wire.start_cbor(one, b"\x01");
    for _ in 0..2 {
        wire.send(two, PING, b"x");
    }
    wire.app_waits_for_user(true);
    assert_eq!(wire.receive(), Some(Message::error(two, CHANNEL_BUSY)));
    assert_eq!(wire.receive(), Some(Message::error(two, CHANNEL_BUSY)));
    assert_eq!(wire.receive(), Some(Message::keepalive(one, UPNEEDED)));
}

// CANCEL.

#[test]
fn cancel_reaches_the_application_and_has_no_answer_of_its_own() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.app_waits_for_user(true);
    assert_eq!(wire.receive(), Some(Message::keepalive(one, UPNEEDED)));
    assert!(!wire.link.is_cancelled());
    wire.send(one, CANCEL, b"");
    assert!(wire.cancelled && wire.link.is_cancelled());
    wire.assert_silent();
    // It stays until the application ends; a second one changes nothing.
    wire.cancelled = false;
    wire.send(one, CANCEL, b"");
    wire.advance(50);
    assert!(!wire.cancelled && wire.link.is_cancelled());
    wire.app_waits_for_user(false);
    wire.app_answers(b"\x2D");
    assert_eq!(wire.receive(), Some(Message::keepalive(one, PROCESSING)));
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\x2D")), "once");
    wire.assert_idle();
    wire.send(one, CANCEL, b"");
    wire.assert_idle();
    wire.assert_serves(one);
}

#[test]
fn cancel_with_nothing_running_is_silence() {
    let mut wire = Wire::new();
    let one = wire.open();
    for channel in [one, 0, BROADCAST, one + 1] {
        wire.cancelled = false;
        wire.send(channel, CANCEL, b"");
        wire.assert_idle();
        assert!(!wire.cancelled);
    }
    wire.assert_serves(one);
    assert!(!wire.link.is_cancelled());
}

#[test]
fn cancel_of_another_channel_changes_nothing() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    wire.start_cbor(one, b"\x01");
    for channel in [two, 0, BROADCAST] {
        wire.send(channel, CANCEL, b"");
        wire.assert_silent();
    }
    assert!(!wire.link.is_cancelled());
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));
}

#[test]
fn cancel_between_answer_and_fetching_it_is_too_late() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.app_answers(&pattern(400));
    wire.send(one, CANCEL, b"");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, &pattern(400))));
    wire.assert_idle();
    wire.assert_serves(one);
}

// Commands behind one that was cancelled.

#[test]
fn behind_a_cancelled_request_a_command_is_held() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    for (abort, own_answer) in [(CANCEL, true), (INIT, false)] {
        for channel in [one, two] {
            wire.start_cbor(one, b"\x01");
            wire.send(one, abort, if abort == INIT { &[1; 8] } else { b"" });
            if abort == INIT {
                assert_eq!(wire.receive().unwrap().command, INIT);
            }
            // libfido2 goes on at once: getInfo, in as many packets as it likes.
            wire.send(channel, CBOR, &pattern(200));
            wire.advance(300);
            while let Some(packet) = wire.take_packet() {
                assert_eq!(packet[4], 0x80 | KEEPALIVE);
            }
            wire.app_answers(b"\x2D");
            if own_answer {
                assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\x2D")));
            }
            assert_eq!(wire.app_takes(), Some((CBOR, pattern(200))));
            assert!(!wire.link.is_cancelled());
            assert_eq!(wire.link.channel(), channel);
            wire.app_answers(b"\0info");
            assert_eq!(wire.receive(), Some(Message::new(channel, CBOR, b"\0info")));
            wire.assert_idle();
        }
    }
}

#[test]
fn a_held_command_hears_busy_in_the_end() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    wire.start_cbor(one, b"\x01");
    wire.init(one);
    wire.send(two, PING, b"x");
    assert_eq!(wire.poll.deadline, Some(wire.now + 500));
    wire.advance(499);
    wire.assert_silent();
    wire.advance(1);
    assert_eq!(wire.receive(), Some(Message::error(two, CHANNEL_BUSY)));
    wire.assert_idle();
    wire.app_answers(b"\x2D");
    wire.assert_idle();
    wire.assert_serves(two);
}

// Both directions under pressure.

#[test]
fn packets_in_leave_32_at_once_and_then_one_a_millisecond() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.advance(1000);
    let ping = Message::new(one, PING, &pattern(7609));
    let packets = ping.packets();
    for packet in &packets {
        wire.send_packet(packet);
    }
    let mut taken = vec![];
    let mut ms = vec![];
    for _ in 0..200 {
        let before = taken.len();
        taken.extend(std::iter::from_fn(|| wire.take_packet()));
        ms.push(taken.len() - before);
        wire.advance(1);
    }
    assert_eq!(taken, packets);
    assert_eq!(ms[0], 32);
    assert!(ms[1..98].iter().all(|&count| count == 1), "{ms:?}");
    assert_eq!(ms.iter().sum::<usize>(), 129);
    assert_eq!(wire.poll.deadline, None);

    // After a pause of 10 ms ten may go at once.
    wire.advance(1000);
    wire.transact(one, PING, &pattern(57 + 31 * 59)).unwrap();
    wire.assert_idle();
    wire.advance(10);
    wire.send(one, PING, &pattern(1000));
    assert_eq!(std::iter::from_fn(|| wire.take_packet()).count(), 10);
    assert_eq!(wire.poll.deadline, Some(wire.now + 1));
}

#[test]
fn a_host_that_does_not_read_is_not_read_from() {
    let mut wire = Wire::new();
    let one = wire.open();
    let pings: Vec<Message> = (0..20).map(|i| Message::new(one, PING, &[i])).collect();
    for ping in &pings {
        wire.bus.host_sends(FIDO, &ping.packets()[0]);
    }
    wire.poll();
    assert!(wire.bus.unread(FIDO) > 10, "{} left", wire.bus.unread(FIDO));
    assert_eq!(wire.poll.deadline, None);
    let writes = wire.bus.writes();
    wire.advance(10_000);
    assert_eq!(wire.bus.writes(), writes);
    for ping in pings {
        assert_eq!(wire.receive(), Some(ping));
    }
    wire.assert_idle();
}

#[test]
fn a_message_does_not_time_out_while_the_device_does_not_read() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    let ping = Message::new(one, PING, &pattern(100));
    wire.send_packet(&ping.packets()[0]);
    for _ in 0..5 {
        wire.bus.host_sends(FIDO, &Message::new(two, PING, b"x").packets()[0]);
    }
    wire.bus.host_sends(FIDO, &ping.packets()[1]);
    wire.poll();
    let polls = wire.polls;
    wire.advance(2000);
    assert_eq!(wire.polls - polls, 1, "nothing to do until the host reads");
    for _ in 0..5 {
        assert_eq!(wire.receive(), Some(Message::error(two, CHANNEL_BUSY)));
    }
    assert_eq!(wire.receive(), Some(ping));
}

#[test]
fn an_idle_device_asks_for_no_timer() {
    let mut wire = Wire::new();
    wire.assert_idle();
    let one = wire.open();
    wire.assert_idle();
    wire.assert_serves(one);
    let writes = wire.bus.writes();
    wire.advance(3_600_000);
    assert_eq!((wire.poll.deadline, wire.bus.writes()), (None, writes));
}

#[test]
fn a_sleeping_bus_is_not_written_to() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.bus.raise(Event::Suspend);
    wire.poll();
    let writes = wire.bus.writes();
    wire.app_waits_for_user(true);
    wire.advance(1000);
    wire.app_answers(&pattern(300));
    wire.advance(1000);
    assert_eq!(wire.bus.writes(), writes);
    wire.bus.raise(Event::Resume);
    wire.poll();
    while let Some(packet) = wire.bus.host_takes(FIDO) {
        assert_eq!(packet[..4], one.to_be_bytes());
        wire.poll();
    }
    wire.assert_idle();
    wire.assert_serves(one);
}

/// The bus falls asleep when the gate has a packet ready that the class has not read.
#[test]
fn a_bus_that_falls_asleep_in_the_middle_loses_nothing() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.bus.raise_after_read(Event::Suspend);
    wire.send(one, CBOR, b"\x04");
    assert!(!wire.request_ready && wire.app_takes().is_none());
    wire.bus.raise(Event::Resume);
    wire.poll();
    assert!(wire.request_ready);
    assert_eq!(wire.app_takes(), Some((CBOR, b"\x04".to_vec())));
    wire.app_answers(b"\0");
    assert_eq!(wire.receive(), Some(Message::new(one, CBOR, b"\0")));

    // Half a message: it does not time out on a bus that sleeps, and takes no timer either.
    let ping = Message::new(one, PING, &pattern(100));
    wire.bus.raise_after_read(Event::Suspend);
    wire.send_packet(&ping.packets()[0]);
    assert_eq!(wire.poll.deadline, None);
    wire.bus.raise(Event::Resume);
    wire.poll();
    wire.send_packet(&ping.packets()[1]);
    assert_eq!(wire.receive(), Some(ping));

    for data in [&b"\x04"[..], &pattern(100)] {
        let one = wire.open();
        wire.bus.raise_after_read(Event::Suspend);
        wire.send_packet(&Message::new(one, CBOR, data).packets()[0]);
        wire.reset();
        assert!(wire.app_takes().is_none());
        let one = wire.open();
        wire.assert_serves(one);
    }
}

#[test]
fn a_reset_wakes_a_sleeping_bus() {
    let mut wire = Wire::new();
    wire.bus.raise(Event::Suspend);
    wire.poll();
    wire.reset();
    let one = wire.open();
    wire.assert_serves(one);
}
