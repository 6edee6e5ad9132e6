//! CTAPHID on the wire while a request runs: keep-alives, CANCEL, what comes behind it, and both directions under
//! pressure.

mod common;

use common::bus::Event;
use common::*;

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

    // After a pause of 10 ms ten may go at once, to a host that has not read its last answer.
    let other = wire.open();
    wire.advance(1000);
    wire.transact(one, PING, &pattern(57 + 31 * 59)).unwrap();
    wire.assert_idle();
    wire.advance(10);
    wire.send(other, PING, &pattern(1000));
    assert_eq!(std::iter::from_fn(|| wire.take_packet()).count(), 10);
    assert_eq!(wire.poll.deadline, Some(wire.now + 1));
}

/// What may leave without the clock moving.
fn burst(wire: &mut Wire, channel: u32, length: usize) -> usize {
    wire.send(channel, PING, &pattern(length));
    std::iter::from_fn(|| wire.take_packet()).count()
}

#[test]
fn who_asks_again_has_read_his_answer_and_is_not_kept_waiting() {
    let mut wire = Wire::new();
    let one = wire.open();
    // A tight loop of requests takes no time at all.
    for _ in 0..200 {
        assert_eq!(burst(&mut wire, one, 57), 1);
    }
    for _ in 0..10 {
        assert_eq!(burst(&mut wire, one, 57 + 31 * 59), 32);
    }
    // One answer stays within the burst, however often he asked before.
    assert_eq!(burst(&mut wire, one, 57 + 32 * 59), 32);
    wire.advance(1);
    assert_eq!(std::iter::from_fn(|| wire.take_packet()).count(), 1);
    // The answer to INIT is read before the new channel is used.
    let two = wire.open();
    assert_eq!(burst(&mut wire, two, 57 + 31 * 59), 32);
}

#[test]
fn who_has_not_read_his_answer_is_paced() {
    let mut wire = Wire::new();
    let (one, two) = (wire.open(), wire.open());
    wire.advance(1000);
    assert_eq!(burst(&mut wire, one, 57 + 31 * 59), 32);
    // Another channel's request shows nothing of what the first one's reader has read.
    assert_eq!(burst(&mut wire, two, 57), 0);
    wire.advance(1);
    assert_eq!(std::iter::from_fn(|| wire.take_packet()).count(), 1);
    // Nor does the next request of a host that sends it before its answer has left.
    assert_eq!(burst(&mut wire, two, 57 + 32 * 59), 32);
    assert_eq!(burst(&mut wire, two, 1), 0);
    for _ in 0..2 {
        wire.advance(1);
        assert_eq!(std::iter::from_fn(|| wire.take_packet()).count(), 1);
    }
    wire.assert_idle();
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
fn a_packet_wakes_a_sleeping_bus() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.bus.raise(Event::Suspend);
    wire.poll();
    wire.assert_serves(one);
}

#[test]
fn a_host_that_sends_without_end_leaves_the_caller_his_turn() {
    let mut wire = Wire::new();
    let one = wire.open();
    for _ in 0..5000 {
        wire.bus.host_sends(FIDO, &continuation(one, 0, b"stray"));
    }
    let mut polls = 0;
    while wire.device.poll(wire.now).deadline == Some(wire.now) {
        polls += 1;
        assert!(polls < 100);
    }
    assert!(polls > 5);
    assert_eq!(wire.bus.unread(FIDO), 0);
    wire.assert_serves(one);
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
