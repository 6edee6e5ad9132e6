//! Images: what they keep, and what is refused without losing anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

use brasskey_tests::ctap2::{GetAssertion, MakeCredential};
use brasskey_tests::{Key, Simulator, simulator};
use rustix::process::Signal;

const SITE: &str = "example.com";

/// An image in a folder of its own.
fn image() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.img").to_str().unwrap().to_owned();
    (folder, path)
}

/// Runs the program with these arguments, to its end.
fn run(arguments: &[&str]) -> Output {
    simulator::command([&["run"], arguments].concat()).output().unwrap()
}

/// It says one line on standard error, nothing on standard output, and exits with 1.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn the_next_run_goes_on_where_the_last_one_ended() {
    let (_folder, image) = image();
    let mut made = Vec::new();
    let mut last = 0;
    for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
        let simulator = Simulator::with_image(&image).unwrap();
        let key = Key::attach(simulator.address()).unwrap();
        made.push(key.make_credential(&MakeCredential::new(SITE)).unwrap());
        for credential in &made {
            let request = GetAssertion::allow(SITE, &[credential.id()]);
            let assertion = key.get_assertion(&request).unwrap();
            assertion.verify(&credential.credential().public_key, &request.client_data_hash).unwrap();
            assert!(assertion.auth_data.sign_count > last);
            last = assertion.auth_data.sign_count;
        }
        assert_eq!(simulator.stop(signal).unwrap().code(), Some(0));
    }
    assert_eq!(fs::metadata(&image).unwrap().permissions().mode() & 0o777, 0o600);
}

/// The process is killed a little later each time, in the middle of a stream of registrations and sign-ins.
#[test]
fn whatever_was_acknowledged_survives_a_kill() {
    let (_folder, image) = image();
    let mut acknowledged: Vec<Vec<u8>> = Vec::new();
    let mut last = 0;
    let mut unit = Duration::from_millis(9);
    for round in 0..12u32 {
        let simulator = Simulator::with_image(&image).unwrap();
        let key = Key::attach(simulator.address()).unwrap();
        if round == 0 {
            // As slow as the key is: an emulated board takes its time.
            let start = Instant::now();
            key.make_credential(&MakeCredential::new(SITE)).unwrap();
            unit = unit.max(start.elapsed());
        }
        for id in &acknowledged {
            let assertion = key.get_assertion(&GetAssertion::allow(SITE, &[id])).unwrap();
            assert!(assertion.auth_data.sign_count > last, "round {round}");
            last = assertion.auth_data.sign_count;
        }
        let killer = std::thread::spawn(move || {
            std::thread::sleep(unit / 2 + unit * round);
            simulator.kill().unwrap();
        });
        for user in 0.. {
            let user = [round as u8, user];
            let Ok(made) = key.make_credential(&MakeCredential::discoverable(SITE, &user)) else { break };
            acknowledged.push(made.id().to_vec());
            let request = GetAssertion::allow(SITE, &[made.id()]).silent();
            let Ok(assertion) = key.get_assertion(&request) else { break };
            last = assertion.auth_data.sign_count;
            if user[1] == 12 {
                break;
            }
        }
        killer.join().unwrap();
    }
    assert!(!acknowledged.is_empty());
}

#[test]
fn one_image_has_one_process_and_one_port_one_server() {
    let (folder, image) = image();
    let simulator = Simulator::with_image(&image).unwrap();
    let text = refused(&run(&["--image", &image, "--listen", "127.0.0.1:0"]));
    assert!(text.contains("in use"), "{text}");
    let other = folder.path().join("other.img");
    let address = simulator.address().to_string();
    let text = refused(&run(&["--image", other.to_str().unwrap(), "--listen", &address]));
    assert!(text.contains("in use"), "{text}");
    assert!(!other.exists());
    Key::attach(simulator.address()).unwrap().get_info().unwrap();
}

#[test]
fn what_is_no_sound_image_is_left_as_it_is() {
    let (folder, image) = image();
    Simulator::with_image(&image).unwrap().stop(Signal::TERM).unwrap();
    let sound = fs::read(&image).unwrap();
    let mut hollow = sound.clone();
    hollow[8192..].fill(0xff);
    let cases = [("zeros", vec![0; sound.len()]), ("short", vec![0xff; 4096]), ("hollow", hollow)];
    for (name, bytes) in cases {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        refused(&run(&["--image", path.to_str().unwrap(), "--listen", "127.0.0.1:0"]));
        assert!(fs::read(&path).unwrap() == bytes, "{name}");
    }
    refused(&run(&["--image", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]));
    assert_eq!(run(&["--no-such-option"]).status.code(), Some(2));
}
