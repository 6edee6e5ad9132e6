//! Hosts that mean harm, break off, or fight over a key. Each ends its own connection and nothing else.

mod common;

use brasskey::usbip::session::{MAX_PENDING_TRANSFERS, MAX_UNREAD_OUTPUT};
use common::*;
use std::io::Write;
use std::net::Shutdown;

/// The server is as good as new: a host attaches, and the key answers.
fn assert_alive(server: &TestServer) {
    let mut host = server.fido();
    let channel = host.open_channel();
    host.send_message(channel, 0x01, b"still here");
    assert_eq!(host.read_message(channel).2, b"still here");
}

#[test]
fn strangers_are_shown_the_door() {
    let server = TestServer::simple();
    for greeting in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x01, 0x06, 0x80, 0x05, 0, 0, 0, 0],
        &[0x01, 0x11, 0x80, 0x04, 0, 0, 0, 0],
        &[0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0],
        &[0xFF; 64],
    ] {
        let mut stream = server.connect();
        stream.write_all(greeting).unwrap();
        assert!(is_ended(&mut stream), "{greeting:02x?}");
    }
    assert_alive(&server);
}

#[test]
fn hostile_headers_end_the_connection_before_anything_is_allocated() {
    let server = TestServer::simple();
    let spoil: [fn(&mut Submit); 9] = [
        |submit| submit.length = -1,
        |submit| submit.length = i32::MIN,
        |submit| submit.length = i32::MAX,
        |submit| submit.length = 65_536,
        |submit| submit.packets = 1,
        |submit| submit.packets = i32::MAX,
        |submit| submit.direction = 2,
        |submit| submit.device_id ^= 1,
        |submit| submit.device_id = 0,
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        for direction in [IN, OUT] {
            let mut host = server.fido();
            let mut submit = host.make(direction, 1, 64);
            spoil(&mut submit);
            let data = if direction == OUT { &[0; 64][..] } else { &[] };
            host.send(&submit.bytes(data));
            assert!(is_ended(&mut host.stream), "header {number}");
        }
    }
    for command in [0, 3, 4, 0x8003_0111, u32::MAX] {
        let mut host = server.fido();
        host.send(&command.to_be_bytes());
        assert!(is_ended(&mut host.stream), "command {command:#x}");
    }
    assert_alive(&server);
}

#[test]
fn transfers_may_not_pile_up() {
    let server = TestServer::simple();
    let mut host = server.fido();
    let inputs: Vec<u32> = (0..MAX_PENDING_TRANSFERS).map(|_| host.submit(IN, 1, 64, &[])).collect();
    // All of them are good …
    let unlink = host.unlink(inputs[MAX_PENDING_TRANSFERS - 1]);
    assert_eq!(host.reply(unlink).status, -104);
    host.submit(IN, 1, 64, &[]);
    // … and one more is not.
    host.submit(IN, 1, 64, &[]);
    assert!(is_ended(&mut host.stream));
    assert_alive(&server);
}

#[test]
fn a_host_that_does_not_read_is_let_go() {
    let server = TestServer::simple();
    let mut host = server.fido();
    let flood: Vec<u8> = (0..1000).flat_map(|seqnum| host.unlink_bytes(seqnum, 0)).collect();
    // Far more than the sockets and the bound can hold, so that this ends.
    let most = 64 * 1024 * 1024 / flood.len();
    let ended = (0..most).any(|_| host.stream.write_all(&flood).is_err());
    assert!(ended, "{MAX_UNREAD_OUTPUT} bytes unread were not the end");
    assert_alive(&server);
}

#[test]
fn a_slow_reader_loses_nothing() {
    let server = TestServer::simple();
    let mut host = server.fido();
    // Its sockets stay nearly full: it reads a little whenever it has written a little.
    let mut seqnums = Vec::new();
    for _ in 0..2000 {
        let mut submit = host.make(IN, 0, 18);
        submit.setup = [0x80, 6, 0, 1, 0, 0, 18, 0];
        host.send(&submit.bytes(&[]));
        seqnums.push(submit.seqnum);
    }
    for seqnum in seqnums {
        let reply = host.next();
        assert_eq!((reply.seqnum, reply.status, reply.length), (seqnum, 0, 18));
    }
}

#[test]
fn connections_that_break_off_anywhere_harm_nothing() {
    let server = TestServer::simple();
    let import = import_request("1-1");
    for length in 0..=import.len() {
        let mut stream = server.connect();
        stream.write_all(&import[..length]).unwrap();
    }
    let mut host = server.fido();
    let submit = host.make(OUT, 1, 64).bytes(&[0; 64]);
    drop(host);
    for length in 0..=submit.len() {
        // At once after the last one: the key must have been cleared away by then.
        let mut host = server.attach();
        host.send(&submit[..length]);
    }
    assert_alive(&server);
}

#[test]
fn a_host_that_dies_while_the_key_waits_or_works_frees_it() {
    let server = TestServer::simple();
    for message in [&[SELECTION][..], &[0x04], &[RESET]] {
        for packets_read in 0..2 {
            let mut host = server.fido();
            let channel = host.open_channel();
            host.send_message(channel, 0x10, message);
            for _ in 0..packets_read {
                host.read_packet();
            }
            match packets_read {
                0 => drop(host),
                // Half closed is as good as gone.
                _ => host.stream.shutdown(Shutdown::Write).unwrap(),
            }
            assert_alive(&server);
        }
    }
}

#[test]
fn one_host_at_a_time() {
    let server = TestServer::start(vec![memory_key(), memory_key()]);
    let mut first = server.fido();
    for _ in 0..10 {
        assert_eq!(server.import("1-1").err(), Some(2), "ST_DEV_BUSY");
    }
    // The other key is free, and the first host has noticed nothing.
    server.import("1-2").unwrap();
    let channel = first.open_channel();
    assert_eq!(first.ctap2(channel, &[SELECTION]).1, [0]);
    drop(first);
    server.attach();
}

#[test]
fn of_hosts_that_race_one_wins() {
    let server = TestServer::simple();
    for _ in 0..20 {
        let won: Vec<Option<Host>> = std::thread::scope(|scope| {
            let hosts = [(); 8]
                .map(|()| scope.spawn(|| server.import("1-1").map_err(|status| assert_eq!(status, 2)).ok()));
            hosts.into_iter().map(|host| host.join().unwrap()).collect()
        });
        assert_eq!(won.iter().flatten().count(), 1);
    }
}

#[test]
fn a_new_attach_is_a_power_cycle_on_the_same_flash() {
    let server = TestServer::simple();
    let mut host = server.fido();
    let (first, second) = (host.open_channel(), host.open_channel());
    assert_ne!(first, second);
    let credential = make_credential(&mut host, first);
    let count = count_of(&mut host, first, &credential).unwrap();
    assert!(count_of(&mut host, first, &credential).unwrap() > count);
    drop(host);

    let mut host = server.attach();
    assert_eq!(host.control_in(0x80, 8, 0, 0, 1), (0, vec![0]), "not configured any more");
    host.control(0x00, 9, 1, 0, &[]);
    // The channels are gone: ERR_INVALID_CHANNEL.
    host.send_message(second, 0x01, b"");
    assert_eq!(host.read_message(second), (vec![], 0x3F, vec![0x0B]));
    let channel = host.open_channel();
    assert!(count_of(&mut host, channel, &credential).unwrap() > count + 1, "the flash is the same");
    // Seconds after its power-up the key can be reset, however long the server has run.
    assert_eq!(host.ctap2(channel, &[RESET]).1, [0]);
    assert_eq!(count_of(&mut host, channel, &credential), None, "gone with the reset");
}

#[test]
fn a_stop_detaches_everyone() {
    let server = TestServer::start((0..3).map(|_| memory_key()).collect());
    let mut silent = server.connect();
    let mut idle = server.import("1-1").unwrap();
    let mut waiting = server.import("1-2").unwrap();
    waiting.control(0x00, 9, 1, 0, &[]);
    let channel = waiting.open_channel();
    waiting.send_message(channel, 0x10, &[SELECTION]);
    server.stop();
    assert!(is_ended(&mut silent) && is_ended(&mut idle.stream) && is_ended(&mut waiting.stream));
}

/// A text string in CBOR, of less than 24 bytes.
fn text(text: &str) -> Vec<u8> {
    [&[0x60 | text.len() as u8], text.as_bytes()].concat()
}

/// authenticatorMakeCredential for example.com: the credential ID.
fn make_credential(host: &mut Host, channel: u32) -> Vec<u8> {
    let mut request = vec![0x01, 0xA4, 0x01, 0x58, 32];
    request.extend([0xC1; 32]);
    request.extend([vec![0x02, 0xA1], text("id"), text("example.com")].concat());
    request.extend([vec![0x03, 0xA2], text("id"), vec![0x41, 7], text("name"), text("alice")].concat());
    request
        .extend([vec![0x04, 0x81, 0xA2], text("alg"), vec![0x26], text("type"), text("public-key")].concat());
    let (_, answer) = host.ctap2(channel, &request);
    assert_eq!(answer[0], 0, "{answer:02x?}");
    let auth_data = find_auth_data(&answer);
    let length = usize::from(u16::from_be_bytes([auth_data[53], auth_data[54]]));
    auth_data[55..55 + length].to_vec()
}

/// authenticatorGetAssertion with that credential: the signature counter.
fn count_of(host: &mut Host, channel: u32, credential: &[u8]) -> Option<u32> {
    let mut request = [vec![0x02, 0xA3, 0x01], text("example.com"), vec![0x02, 0x58, 32]].concat();
    request.extend([0xC2; 32]);
    request.extend([vec![0x03, 0x81, 0xA2], text("id"), vec![0x58, credential.len() as u8]].concat());
    request.extend(credential);
    request.extend([text("type"), text("public-key")].concat());
    let (_, answer) = host.ctap2(channel, &request);
    (answer[0] == 0).then(|| be32(find_auth_data(&answer), 33))
}

/// The authenticator data in an answer: it begins with the RP ID's hash.
fn find_auth_data(answer: &[u8]) -> &[u8] {
    // SHA-256 of "example.com".
    const HASH: [u8; 4] = [0xA3, 0x79, 0xA6, 0xF6];
    let at = answer.windows(4).position(|window| window == HASH).expect("authenticator data");
    &answer[at..]
}
