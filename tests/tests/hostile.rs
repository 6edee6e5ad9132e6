//! Hosts that break the rules of USB/IP: they lose their own connection and nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use brasskey_tests::ctap2::MakeCredential;
use brasskey_tests::{Key, Simulator, usbip};

/// A reproducible stream of noise (xorshift64*).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn import(bus_id: &str) -> Vec<u8> {
    let mut request = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    request.extend_from_slice(bus_id.as_bytes());
    request.resize(40, 0);
    request
}

/// Sends bytes and reads what comes back, until the server or this side has had enough.
fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // The server may close before it has read everything; that is its answer.
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 4096]);
}

#[test]
fn noise_on_the_port() {
    let mut simulator = Simulator::start().unwrap();
    let mut noise = Noise(42);
    for round in 0..150 {
        let length = noise.next() as usize % 200;
        let mut bytes = if round % 3 == 0 { Vec::new() } else { import("1-1") };
        bytes.extend(noise.bytes(length));
        if round % 3 == 2 {
            // A plausible SUBMIT with some of its fields wrong.
            bytes.truncate(40);
            let mut submit = [0, 0, 0, 1, 0, 0, 0, 9, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1].to_vec();
            submit.resize(48, 0);
            for _ in 0..4 {
                let at = noise.next() as usize % 48;
                submit[at] = noise.next() as u8;
            }
            bytes.extend(submit);
        }
        send(simulator.address(), &bytes);
    }
    assert!(simulator.is_running());
    let key = Key::attach(simulator.address()).unwrap();
    key.make_credential(&MakeCredential::new("example.com")).unwrap();
}

#[test]
fn one_key_has_one_host_and_is_listed_all_the_same() {
    let simulator = Simulator::start().unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    assert!(Key::attach(simulator.address()).is_err(), "it is taken");
    assert_eq!(usbip::list(simulator.address()).unwrap().len(), 1);
    key.get_info().unwrap();
    // A host that vanishes without a word gives the key back.
    drop(key);
    Key::attach(simulator.address()).unwrap().get_info().unwrap();
}
