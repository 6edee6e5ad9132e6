//! [`Application`] and a key at the end of the real pipe; the key serves USB itself while it waits for a touch, as
//! a body's interrupt or task does beside it.

mod common;

use brasskey_usb::{Application, Key};
use common::*;
use std::cell::RefCell;
use std::rc::Rc;

/// What one call of the key is to do.
enum Play {
    /// Answer with these bytes.
    Answer(Vec<u8>),
    /// Say that the answer has this length, whatever there is room for.
    Claim(usize),
    /// Have the device made anew meanwhile.
    Reattach,
    /// Wait for a touch: take 100 ms steps until cancelled. After the given step the host cancels.
    Wait { cancel_after: u32 },
}

/// A key that does as the test says, and writes down what it was asked.
struct ScriptedKey {
    wire: Rc<RefCell<Wire>>,
    plays: Vec<Play>,
    calls: Vec<(&'static str, u32, Vec<u8>, usize)>,
    heard: Vec<Message>,
}

impl ScriptedKey {
    fn play(&mut self, channel: u32, response: &mut [u8]) -> usize {
        assert!(response.iter().all(|&byte| byte == 0), "an old answer shines through");
        match self.plays.remove(0) {
            Play::Answer(answer) => {
                response[..answer.len()].copy_from_slice(&answer);
                answer.len()
            }
            Play::Claim(length) => length,
            Play::Reattach => {
                reattach(&self.wire);
                1
            }
            Play::Wait { cancel_after } => {
                let mut wire = self.wire.borrow_mut();
                wire.app_waits_for_user(true);
                let mut step = 0;
                while !wire.link.is_cancelled() {
                    self.heard.extend(wire.receive());
                    if step == cancel_after {
                        wire.send(channel, CANCEL, b"");
                    }
                    step += 1;
                    assert!(step < 100, "never cancelled");
                    wire.advance(100);
                }
                wire.app_waits_for_user(false);
                while let Some(message) = wire.receive() {
                    self.heard.push(message);
                }
                response[0] = 0x2D;
                1
            }
        }
    }
}

impl Key for ScriptedKey {
    fn ctap1(&mut self, request: &[u8], response: &mut [u8]) -> usize {
        self.calls.push(("ctap1", 0, request.to_vec(), response.len()));
        self.play(0, response)
    }

    fn ctap2(&mut self, channel: u32, request: &[u8], response: &mut [u8]) -> usize {
        self.calls.push(("ctap2", channel, request.to_vec(), response.len()));
        self.play(channel, response)
    }

    fn wink(&mut self) {
        self.calls.push(("wink", 0, vec![], 0));
    }
}

/// Makes the device anew at the same channel.
fn reattach(wire: &RefCell<Wire>) {
    let (channel, link) = {
        let wire = wire.borrow();
        (wire.channel, wire.link)
    };
    // The device before lets the channel go when it is dropped.
    drop(wire.replace(Wire::new()));
    let config = brasskey_usb::DeviceConfig { version: [5, 6, 7], ..Default::default() };
    drop(wire.replace(Wire::on_channel(config, channel, link)));
}

struct Bench {
    wire: Rc<RefCell<Wire>>,
    application: Application<'static, N>,
    key: ScriptedKey,
}

impl Bench {
    fn new() -> Self {
        let mut wire = Wire::new();
        let responder = wire.responder.take().unwrap();
        let application = Application::new(responder, wire.link);
        let wire = Rc::new(RefCell::new(wire));
        let key = ScriptedKey { wire: wire.clone(), plays: vec![], calls: vec![], heard: vec![] };
        Self { wire, application, key }
    }

    fn open(&self) -> u32 {
        self.wire.borrow_mut().open()
    }

    /// Sends a message, lets the application run, returns what comes back.
    fn transact(&mut self, channel: u32, command: u8, data: &[u8]) -> Option<Message> {
        self.wire.borrow_mut().send(channel, command, data);
        if self.application.poll(&mut self.key) {
            self.wire.borrow_mut().poll();
        }
        self.wire.borrow_mut().receive()
    }
}

#[test]
fn each_command_reaches_its_method() {
    let mut bench = Bench::new();
    let one = bench.open();
    bench.key.plays = vec![Play::Answer(pattern(7609)), Play::Answer(b"\x90\0".to_vec())];
    assert_eq!(bench.transact(one, CBOR, &pattern(7609)), Some(Message::new(one, CBOR, &pattern(7609))));
    assert_eq!(bench.transact(one, MSG, b"\0\x03\0\0"), Some(Message::new(one, MSG, b"\x90\0")));
    assert_eq!(bench.transact(one, WINK, b""), Some(Message::new(one, WINK, b"")));
    let calls =
        [("ctap2", one, pattern(7609), N), ("ctap1", 0, b"\0\x03\0\0".to_vec(), N), ("wink", 0, vec![], 0)];
    assert_eq!(bench.key.calls, calls);
    assert!(!bench.application.poll(&mut bench.key), "nothing waits");
}

#[test]
fn messages_that_must_or_must_not_be_empty_are_checked() {
    let mut bench = Bench::new();
    let one = bench.open();
    for (command, data) in [(CBOR, &b""[..]), (MSG, b""), (WINK, b"x")] {
        assert_eq!(bench.transact(one, command, data), Some(Message::error(one, INVALID_LEN)));
    }
    assert!(bench.key.calls.is_empty());
    bench.key.plays = vec![Play::Answer(b"\0".to_vec())];
    assert_eq!(bench.transact(one, CBOR, b"\x04"), Some(Message::new(one, CBOR, b"\0")));
}

#[test]
fn an_answer_is_never_longer_than_its_room() {
    let mut bench = Bench::new();
    let one = bench.open();
    bench.key.plays = vec![Play::Claim(0), Play::Claim(N), Play::Claim(N + 1), Play::Claim(usize::MAX)];
    for length in [0, N, N, N] {
        assert_eq!(bench.transact(one, CBOR, b"\x04").unwrap().data.len(), length);
    }
}

#[test]
fn a_touch_is_awaited_with_keepalives_until_the_host_cancels() {
    let mut bench = Bench::new();
    let one = bench.open();
    bench.key.plays = vec![Play::Wait { cancel_after: 3 }, Play::Answer(b"\0".to_vec())];
    assert_eq!(bench.transact(one, CBOR, b"\x01"), Some(Message::new(one, CBOR, b"\x2D")));
    let mut heard = vec![Message::keepalive(one, UPNEEDED); 5];
    heard.push(Message::keepalive(one, PROCESSING));
    assert_eq!(bench.key.heard, heard);
    assert_eq!(bench.transact(one, CBOR, b"\x04"), Some(Message::new(one, CBOR, b"\0")));
    bench.wire.borrow_mut().assert_idle();
}

#[test]
fn a_request_that_was_cancelled_before_it_began_ends_at_its_wait() {
    let mut bench = Bench::new();
    let one = bench.open();
    bench.wire.borrow_mut().send(one, CBOR, b"\x01");
    bench.wire.borrow_mut().send(one, CANCEL, b"");
    bench.key.plays = vec![Play::Wait { cancel_after: u32::MAX }];
    assert!(bench.application.poll(&mut bench.key));
    bench.wire.borrow_mut().poll();
    let mut wire = bench.wire.borrow_mut();
    let answer = std::iter::from_fn(|| wire.receive()).last();
    assert_eq!(answer, Some(Message::new(one, CBOR, b"\x2D")));
    wire.assert_idle();
}

/// A device is made anew on a channel whose application has not ended: re-attached, say.
#[test]
fn a_request_from_before_is_given_up() {
    let mut bench = Bench::new();
    let one = bench.open();
    // Not taken yet: it is not even begun.
    bench.wire.borrow_mut().send(one, CBOR, b"\x01");
    reattach(&bench.wire);
    assert!(!bench.application.poll(&mut bench.key));
    assert!(bench.key.calls.is_empty());

    // Answered, and not fetched: it is not sent to the new host.
    let one = bench.open();
    bench.wire.borrow_mut().send(one, CBOR, b"\x01");
    bench.key.plays = vec![Play::Answer(b"\0old".to_vec()), Play::Answer(b"\0new".to_vec())];
    assert!(bench.application.poll(&mut bench.key));
    reattach(&bench.wire);
    let one = bench.open();
    bench.wire.borrow_mut().assert_idle();
    assert_eq!(bench.transact(one, CBOR, b"\x04"), Some(Message::new(one, CBOR, b"\0new")));
}

#[test]
fn a_request_from_before_that_runs_is_cancelled() {
    let mut bench = Bench::new();
    let one = bench.open();
    bench.wire.borrow_mut().send(one, CBOR, b"\x01");
    bench.key.plays = vec![Play::Reattach, Play::Answer(b"\0".to_vec())];
    assert!(!bench.application.poll(&mut bench.key));
    let one = bench.open();
    bench.wire.borrow_mut().assert_idle();
    assert_eq!(bench.transact(one, CBOR, b"\x04"), Some(Message::new(one, CBOR, b"\0")));
}

/// An application that ended in the middle of a request, and another one in its place.
#[test]
fn a_request_that_nobody_ends_is_given_up() {
    let mut wire = Wire::new();
    let one = wire.open();
    wire.start_cbor(one, b"\x01");
    wire.responder = None;
    let application = Application::new(wire.channel.responder().unwrap(), wire.link);
    let wire = Rc::new(RefCell::new(wire));
    let key = ScriptedKey { wire: wire.clone(), plays: vec![], calls: vec![], heard: vec![] };
    let mut bench = Bench { wire, application, key };
    reattach(&bench.wire);
    assert!(!bench.application.poll(&mut bench.key));
    let one = bench.open();
    bench.key.plays = vec![Play::Answer(b"\0".to_vec())];
    assert_eq!(bench.transact(one, CBOR, b"\x04"), Some(Message::new(one, CBOR, b"\0")));
}

#[test]
fn the_authenticator_is_a_key() {
    use brasskey_authenticator::{Authenticator, Flash, testing};
    let mut flash = Flash::new(testing::RamFlash::new());
    let mut key = Authenticator::boot(&mut flash, testing::Platform::new()).unwrap();
    let mut wire = Wire::new();
    let mut application = Application::new(wire.responder.take().unwrap(), wire.link);
    let one = wire.open();
    let mut transact = |command, data: &[u8]| {
        wire.send(one, command, data);
        assert!(application.poll(&mut key));
        wire.poll();
        wire.receive().unwrap()
    };
    let info = transact(CBOR, &[0x04]);
    assert_eq!((info.command, info.data[0]), (CBOR, 0x00));
    assert_eq!(transact(MSG, &[0, 3, 0, 0, 0, 0, 0]), Message::new(one, MSG, b"U2F_V2\x90\0"));
    assert_eq!(transact(WINK, b""), Message::new(one, WINK, b""));
}

#[test]
fn it_moves_between_threads() {
    fn assert_send<T: Send>(_: &T) {}
    let wire = Wire::new();
    assert_send(&wire.device);
    assert_send(&wire.link);
    assert_send(&Application::new(wire.responder.unwrap(), wire.link));
    // And a future that owns allocator and device.
    let future = async {
        let bus = brasskey_usb::GatedBus::new(common::bus::MemBus::default());
        let allocator = usb_device::bus::UsbBusAllocator::new(bus);
        let channel = brasskey_usb::Channel::<1024>::new();
        let link = brasskey_usb::Link::new();
        let (Some(requester), config) = (channel.requester(), brasskey_usb::DeviceConfig::default()) else {
            return;
        };
        let mut device = brasskey_usb::FidoDevice::new(&allocator, requester, &link, &config);
        std::future::ready(()).await;
        device.poll(0);
    };
    assert_send(&future);
}
