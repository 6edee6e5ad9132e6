//! USB/IP over TCP, as an honest host speaks it: listing, importing, enumeration, transfers, unlinking.

mod common;

use common::*;
use std::io::Write;

#[test]
fn the_device_list_tells_every_key_and_the_truth() {
    let server = TestServer::start((0..3).map(|_| memory_key()).collect());
    // Also while one is attached.
    let mut host = server.import("1-2").unwrap();
    let mut list = server.connect();
    list.write_all(&[0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0]).unwrap();
    let head = read(&mut list, 12);
    assert_eq!(head, [0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 3]);
    let (_, device) = host.descriptor(1, 0, 18);
    let (_, configuration) = host.descriptor(2, 0, 255);
    for number in 1..=3 {
        let entry = read(&mut list, 312 + 4);
        assert!(entry[256..].starts_with(format!("1-{number}\0").as_bytes()));
        assert_eq!(
            (be32(&entry, 288), be32(&entry, 292), be32(&entry, 296)),
            (1, number, 2),
            "bus, device, full speed"
        );
        let little = |at: usize| u16::from_le_bytes([device[at], device[at + 1]]).to_be_bytes();
        assert_eq!(entry[300..306], [little(8), little(10), little(12)].concat(), "ids and release");
        assert_eq!(entry[306..309], device[4..7], "class");
        assert_eq!(entry[309..312], [configuration[5], device[17], configuration[4]]);
        assert_eq!(entry[312..], [3, 0, 0, 0], "HID, no boot protocol");
    }
    assert!(is_ended(&mut list));
    assert_eq!(host.device[256..312], {
        let mut again = server.connect();
        again.write_all(&[0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0]).unwrap();
        read(&mut again, 12 + 316);
        read(&mut again, 316)[256..312].to_vec()
    });
}

#[test]
fn only_bus_ids_that_exist_are_imported() {
    let server = TestServer::simple();
    for bus_id in
        ["1-2", "1-0", "1-01", "1-+1", " 1-1", "1-1 ", "2-1", "1-", "", "1-1-1", "1-99999999999999999999"]
    {
        assert_eq!(server.import(bus_id).err(), Some(4), "{bus_id:?}");
    }
    // Thirty-two bytes, and no NUL among them.
    assert_eq!(server.import(&"1".repeat(32)).err(), Some(4));
    server.attach();
}

#[test]
fn linux_enumerates_it() {
    let server = TestServer::simple();
    let mut host = server.attach();
    let (status, device) = host.descriptor(1, 0, 64);
    assert_eq!((status, device.len(), device[0], device[7], device[17]), (0, 18, 18, 64, 1));
    assert_eq!(host.descriptor(1, 0, 8), (0, device[..8].to_vec()));
    let (_, head) = host.descriptor(2, 0, 9);
    let total = u16::from_le_bytes([head[2], head[3]]);
    let (status, configuration) = host.descriptor(2, 0, total);
    assert_eq!((status, configuration.len()), (0, usize::from(total)));
    for length in [total - 1, total + 1, 255, u16::MAX] {
        let (status, again) = host.descriptor(2, 0, length);
        assert_eq!((status, &again[..]), (0, &configuration[..usize::from(total.min(length))]));
    }
    for index in [0, device[14], device[15]] {
        let (status, string) = host.control_in(0x80, 6, 0x0300 | u16::from(index), 0x0409, 255);
        assert_eq!((status, string.len(), string[1]), (0, usize::from(string[0]), 3));
    }
    assert_eq!(host.control(0x00, 9, 1, 0, &[]).0, 0, "SET_CONFIGURATION");
    assert_eq!(host.control_in(0x80, 8, 0, 0, 1), (0, vec![1]), "GET_CONFIGURATION");
    assert_eq!(host.control(0x21, 0x0A, 0, 0, &[]).0, 0, "SET_IDLE");
    let (status, report) = host.control_in(0x81, 6, 0x2200, 0, 34);
    assert_eq!((status, &report[..5]), (0, &[0x06, 0xD0, 0xF1, 0x09, 0x01][..]));
    assert_eq!(host.control_in(0x80, 0, 0, 0, 2), (0, vec![0, 0]), "GET_STATUS");
}

#[test]
fn refused_requests_stall_and_harm_nothing() {
    let server = TestServer::simple();
    let mut host = server.attach();
    const EPIPE: i32 = -32;
    assert_eq!(host.descriptor(6, 0, 10), (EPIPE, vec![]), "there is no device qualifier at full speed");
    assert_eq!(host.descriptor(3, 200, 255).0, EPIPE, "no such string");
    assert_eq!(host.control_in(0xC0, 1, 0, 0, 64).0, EPIPE, "no vendor requests");
    assert_eq!(host.control(0x40, 1, 0, 0, &[0; 1000]).0, EPIPE);
    assert_eq!(host.control(0x00, 9, 2, 0, &[]).0, EPIPE, "no second configuration");
    assert_eq!(host.descriptor(1, 0, 18).1.len(), 18);
}

#[test]
fn packets_go_through_and_unlink_is_honest() {
    let server = TestServer::simple();
    let mut host = server.fido();
    let channel = host.open_channel();

    // Three requests for input wait; the middle one is taken back.
    let waiting = [(); 3].map(|()| host.submit(IN, 1, 64, &[]));
    let unlink = host.unlink(waiting[1]);
    assert_eq!((host.reply(unlink).status, host.unlink(waiting[1])), (-104, unlink + 1));
    assert_eq!(host.reply(unlink + 1).status, 0, "a second time is too late");
    for message in [b"one", b"two"] {
        host.send_message(channel, 0x01, message);
    }
    assert_eq!(host.reply(waiting[0]).data[7..10], *b"one");
    assert_eq!(host.reply(waiting[2]).data[7..10], *b"two");
    let unlink = host.unlink(waiting[2]);
    assert_eq!(host.reply(unlink).status, 0, "too late");
    let unlink = host.unlink(12345);
    assert_eq!(host.reply(unlink).status, 0, "never submitted");
}

#[test]
fn a_reply_and_its_unlink_never_both_win() {
    let server = TestServer::simple();
    let mut host = server.fido();
    let channel = host.open_channel();
    for round in 0..300_u32 {
        let input = host.submit(IN, 1, 64, &[]);
        // A packet whose answer completes the input, and the UNLINK, in one segment, in either order.
        let ping = host.make(OUT, 1, 64);
        let mut packet = [&channel.to_be_bytes()[..], &[0x81, 0, 4], &round.to_be_bytes()].concat();
        packet.resize(64, 0);
        let unlink = host.unlink_bytes(u32::MAX - round, input);
        let pieces =
            if round % 2 == 0 { [ping.bytes(&packet), unlink] } else { [unlink, ping.bytes(&packet)] };
        host.send(&pieces.concat());
        assert_eq!(host.reply(ping.seqnum).status, 0);
        let answer = match host.reply(u32::MAX - round).status {
            0 => host.reply(input).data,
            -104 => host.read_packet(),
            status => panic!("UNLINK ended with {status}"),
        };
        assert_eq!(answer[7..11], round.to_be_bytes(), "nothing lost, nothing doubled");
    }
}

#[test]
fn what_arrives_in_pieces_and_what_arrives_at_once_is_the_same() {
    let server = TestServer::simple();
    let mut host = server.fido();
    let channel = host.open_channel();
    let mut packet = [&channel.to_be_bytes()[..], &[0x81, 0, 57]].concat();
    packet.extend(0..57);

    // One byte at a time.
    let input = host.make(IN, 1, 64);
    let output = host.make(OUT, 1, 64);
    for byte in [input.bytes(&[]), output.bytes(&packet)].concat() {
        host.send(&[byte]);
    }
    assert_eq!(host.reply(input.seqnum).data, packet);

    // A message of 129 packets, and the room for its answer, in one write. Only so many wait at a time.
    let message: Vec<u8> = (0..7609_u32).map(|byte| byte as u8).collect();
    let mut packets = vec![[&channel.to_be_bytes()[..], &[0x81, 0x1D, 0xB9], &message[..57]].concat()];
    for (sequence, data) in (0..).zip(message[57..].chunks(59)) {
        packets.push([&channel.to_be_bytes()[..], &[sequence], data].concat());
    }
    let mut bytes = Vec::new();
    let inputs: Vec<u32> = packets
        .iter_mut()
        .map(|packet| {
            packet.resize(64, 0);
            let (input, output) = (host.make(IN, 1, 64), host.make(OUT, 1, 64));
            bytes.extend([input.bytes(&[]), output.bytes(packet)].concat());
            input.seqnum
        })
        .collect();
    host.send(&bytes);
    for (seqnum, packet) in inputs.into_iter().zip(packets) {
        assert_eq!(host.reply(seqnum).data, packet);
    }
}

#[test]
fn transfers_are_clamped_to_what_was_asked() {
    let server = TestServer::simple();
    let mut host = server.fido();
    let channel = host.open_channel();
    for (asked, status, length) in [(8, -75, 8), (63, -75, 63), (64, 0, 64), (1024, 0, 64)] {
        host.send_message(channel, 0x01, &[7; 57]);
        let input = host.submit(IN, 1, asked, &[]);
        let reply = host.reply(input);
        assert_eq!((reply.status, reply.length, reply.data.len()), (status, length, length as usize));
    }
}

#[test]
fn unknown_endpoints_are_not_there() {
    let server = TestServer::simple();
    let mut host = server.fido();
    for endpoint in [2, 15, 16, 0x81, u32::MAX] {
        for (direction, data) in [(IN, &[][..]), (OUT, &[0; 4])] {
            let seqnum = host.submit(direction, endpoint, 4, data);
            let reply = host.reply(seqnum);
            assert_eq!((reply.status, reply.length), (-2, 0), "endpoint {endpoint:#x}");
        }
    }
}

#[test]
fn a_touch_is_granted_after_the_host_has_heard_that_it_is_wanted() {
    let server = TestServer::simple();
    let mut host = server.fido();
    let channel = host.open_channel();
    for _ in 0..20 {
        let (keep_alives, answer) = host.ctap2(channel, &[SELECTION]);
        assert_eq!(answer, [0]);
        assert!(keep_alives.contains(&2), "UPNEEDED, but got {keep_alives:?}");
    }
    // No keep-alive before a U2F answer.
    host.send_message(channel, 0x03, &[0, 3, 0, 0, 0, 0, 0]);
    assert_eq!(host.read_message(channel), (vec![], 0x03, b"U2F_V2\x90\x00".to_vec()));
}
