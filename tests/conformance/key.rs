//! Keys for the tests: each its own, in memory.

use brasskey_tests::ctap2::Parameters;
use brasskey_tests::{Key, Result, Simulator, cbor};
use ciborium::Value;

/// The PIN that most tests set: not one that a complexity policy refuses.
pub(crate) const PIN: &str = "2718";

/// A running key, and a host that speaks to it.
pub(crate) struct Served {
    simulator: Simulator,
    pub(crate) key: Key,
}

impl Served {
    /// A blank key that grants every touch.
    pub(crate) fn blank() -> Self {
        Self::of(Simulator::start())
    }

    /// The same with more arguments for `brasskey run`.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let all = [&["--image", ":memory:", "--presence", "auto"], arguments].concat();
        Self::of(Simulator::with(&all))
    }

    fn of(simulator: Result<Simulator>) -> Self {
        let simulator = simulator.unwrap();
        let key = Key::attach(simulator.address()).unwrap();
        Self { simulator, key }
    }

    /// A blank key with [`PIN`] set.
    pub(crate) fn with_pin() -> Self {
        let served = Self::blank();
        served.key.set_pin(2, PIN).unwrap();
        served
    }

    /// Pulls the key out and plugs it in again.
    pub(crate) fn power_cycle(self) -> Self {
        let Self { simulator, key } = self;
        drop(key);
        Self::of(Ok(simulator))
    }

    /// The status that a command comes to, 0 if it works.
    pub(crate) fn status(&self, command: u8, parameters: &Parameters) -> u8 {
        status(self.key.raw(command, &parameters.encode()))
    }
}

/// The status of an answer, 0 if it is a success.
pub(crate) fn status<T>(answer: Result<T>) -> u8 {
    match answer {
        Ok(_) => 0,
        Err(error) => error.status().unwrap_or_else(|| panic!("{error}")),
    }
}

/// A member of getInfo.
pub(crate) fn info(key: &Key, number: u64) -> Option<Value> {
    cbor::get(&key.get_info().unwrap(), number).cloned()
}

/// A member of getInfo that is a number.
pub(crate) fn number(key: &Key, member: u64) -> Option<u64> {
    info(key, member).map(|value| value.as_integer().unwrap().try_into().unwrap())
}

/// An option of getInfo.
pub(crate) fn option(key: &Key, name: &str) -> Option<bool> {
    cbor::get(&info(key, 0x04).unwrap(), name).map(|value| value.as_bool().unwrap())
}
