//! How long a PING takes from a client to a key and back, through USB/IP over TCP. Prints figures for docs/design.md.
//!
//! `cargo run --release -p brasskey-tests --example ping`

use std::time::{Duration, Instant};

use brasskey_tests::ctaphid::command::PING;
use brasskey_tests::{Key, Result, Simulator};

/// Requests in a row for each length.
const TIMES: usize = 200;

fn main() -> Result<()> {
    let simulator = Simulator::start()?;
    let key = Key::attach(simulator.address())?;
    // One packet; what may leave at once; more than Linux keeps for a reader; the longest.
    for length in [57, 57 + 31 * 59, 57 + 63 * 59, 7609] {
        let message = vec![0x5a; length];
        let mut times = (0..TIMES)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(key.channel().call(PING, &message)?, message);
                Ok(start.elapsed())
            })
            .collect::<Result<Vec<Duration>>>()?;
        times.sort_unstable();
        println!("PING {length:>4}: median {:?}, slowest {:?}", times[TIMES / 2], times[TIMES - 1]);
    }
    Ok(())
}
