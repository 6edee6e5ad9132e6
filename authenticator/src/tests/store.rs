//! The store: how much fits, and what happens to a flash that is damaged.

use littlefs2::driver::Storage as _;

use super::client::*;
use super::large_blobs::{largest_array, read_blobs, write_blobs};
use crate::testing::{Cut, Platform, RamFlash};
use crate::{Authenticator, BootError, Flash};

const SITE: &str = "example.com";

/// Credentials as large as they get, up to the promised number; then none is lost, and one may be replaced.
#[test]
fn holds_as_many_as_promised() {
    let (mut flash, mut platform) = blank();
    platform.identity.max_discoverable = u16::MAX;
    let promised = RamFlash::BLOCK_COUNT - 18;
    let site = |index: u8| std::format!("{index:03}{}", "x".repeat(253));
    let largest = |index| {
        let name = text(&"n".repeat(64));
        let user = map([("id", bytes(&[index; 64])), ("name", name.clone()), ("displayName", name)]);
        Make::new(&site(index), &[]).with(3, user).discoverable()
    };
    let mut made = std::vec::Vec::new();
    {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        for index in 0..promised as u8 {
            made.push(make(&mut key, &largest(index)).unwrap());
        }
        assert_eq!(make(&mut key, &largest(255)).unwrap_err(), 0x28);
        made[7] = make(&mut key, &largest(7)).unwrap();
    }
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    for (index, made) in made.iter().enumerate() {
        sign_in(&mut key, &site(index as u8), made).unwrap();
    }
    assert_eq!(make(&mut key, &largest(255)).unwrap_err(), 0x28);
    // Beside them there is room for the largest large-blob array, and for another in its place.
    for fill in [1, 2, 3] {
        write_blobs(&mut key, &largest_array(fill)).unwrap();
        assert_eq!(read_blobs(&mut key), largest_array(fill));
    }
}

#[test]
fn the_owner_may_list_them() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1").discoverable()).unwrap();
    make(&mut key, &Make::new(SITE, b"2")).unwrap();
    let mut seen = 0;
    key.credentials(|credential| {
        seen += 1;
        assert_eq!(credential.credential_id, made.id());
        assert_eq!(credential.rp_id, SITE);
        assert_eq!(credential.rp_id_hash, made.auth_data.rp_id_hash);
        assert_eq!(credential.user_id, b"1");
        assert_eq!(credential.user_name, Some("user 49"));
        assert_eq!(credential.user_display_name, Some("A. User"));
        assert_eq!(credential.algorithm, -7);
    })
    .unwrap();
    assert_eq!(seen, 1);
}

fn boot(flash: RamFlash) -> (Result<usize, BootError>, RamFlash) {
    let mut flash = Flash::new(flash);
    let booted = Authenticator::boot(&mut flash, Platform::seeded(7)).map(|key| {
        let mut credentials = 0;
        key.credentials(|_| credentials += 1).unwrap();
        credentials
    });
    (booted, flash.into_storage())
}

fn used() -> RamFlash {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    for user in [b"1", b"2"] {
        make(&mut key, &Make::new(SITE, user).discoverable()).unwrap();
    }
    drop(key);
    flash.into_storage()
}

/// What is no store is refused and left as it is.
#[test]
fn formats_nothing_that_is_not_blank() {
    for fill in [0x00, 0x55] {
        let mut foreign = RamFlash::new();
        foreign.raw_mut().fill(fill);
        let (outcome, after) = boot(foreign.clone());
        assert_eq!(outcome, Err(BootError::Foreign));
        assert_eq!(after, foreign);
    }
    // A store whose header is gone, but not its file system.
    let mut headless = used();
    headless.raw_mut()[..2 * RamFlash::BLOCK_SIZE].fill(0xff);
    let (outcome, after) = boot(headless.clone());
    assert_eq!(outcome, Err(BootError::Foreign));
    assert_eq!(after, headless);
    // The other way round.
    let mut hollow = used();
    hollow.raw_mut()[2 * RamFlash::BLOCK_SIZE..].fill(0xff);
    let (outcome, after) = boot(hollow.clone());
    assert_eq!(outcome, Err(BootError::Damaged("file system")));
    assert_eq!(after, hollow);
}

#[test]
fn one_copy_of_the_header_is_enough() {
    for block in 0..2 {
        let mut damaged = used();
        damaged.raw_mut()[block * RamFlash::BLOCK_SIZE + 100] ^= 1;
        assert_eq!(boot(damaged).0, Ok(2));
    }
}

#[test]
fn another_version_or_model_is_refused() {
    use sha2::{Digest, Sha256};
    let mut later = used();
    for block in 0..2 {
        let header = &mut later.raw_mut()[block * RamFlash::BLOCK_SIZE..][..2048];
        header[8] = 3;
        let digest = Sha256::new().chain_update(&header[..16]).chain_update(&header[48..]).finalize();
        header[16..48].copy_from_slice(&digest);
    }
    let (outcome, after) = boot(later.clone());
    assert_eq!(outcome, Err(BootError::Layout(3)));
    assert_eq!(after, later);

    let mut flash = Flash::new(used());
    let mut platform = Platform::new();
    platform.identity.aaguid = [9; 16];
    assert_eq!(Authenticator::boot(&mut flash, platform).err(), Some(BootError::Model));
}

/// Bits flipped all over a store: it boots with everything or says that it is damaged; it never starts anew,
/// never panics, and writes nothing while it refuses.
#[test]
fn damage_is_never_a_fresh_start() {
    let whole = used();
    let programmed: std::vec::Vec<usize> =
        (0..whole.raw().len()).filter(|&at| whole.raw()[at] != 0xff).collect();
    let mut refused = 0;
    for &at in programmed.iter().step_by(3) {
        let mut damaged = whole.clone();
        damaged.raw_mut()[at] ^= 0x10;
        let (outcome, after) = boot(damaged.clone());
        match outcome {
            Ok(credentials) => assert_eq!(credentials, 2, "byte {at}"),
            Err(_) => {
                refused += 1;
                assert_eq!(after, damaged, "byte {at}");
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn erasing_is_the_way_out() {
    let mut damaged = used();
    damaged.raw_mut().fill(0x55);
    let mut flash = Flash::new(damaged);
    assert!(Authenticator::boot(&mut flash, Platform::new()).is_err());
    flash.erase().unwrap();
    Authenticator::boot(&mut flash, Platform::new()).unwrap();
}

/// What the first version of the store wrote, with a PIN and two credentials.
fn of_layout_1() -> (RamFlash, Made) {
    use littlefs2::path;
    use sha2::{Digest, Sha256};
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let made = [b"1", b"2"].map(|user| make(&mut key, &Make::new(SITE, user).discoverable()).unwrap());
    key.set_pin("2718").unwrap();
    drop(key);
    let mut flash = crate::store::with_filesystem(flash.into_storage(), |fs| {
        let pin = [&[6, 4][..], &Sha256::digest("2718")[..16]].concat();
        fs.write(path!("pin"), &pin).unwrap();
        fs.write(path!("census"), &2u16.to_le_bytes()).unwrap();
        fs.remove(path!("state")).unwrap();
    });
    for block in 0..2 {
        let start = block * RamFlash::BLOCK_SIZE;
        let header = &mut flash.raw_mut()[start..start + RamFlash::BLOCK_SIZE];
        header[8] = 1;
        header[1536..].fill(0xff);
        let digest = Sha256::new().chain_update(&header[..16]).chain_update(&header[48..1536]).finalize();
        header[16..48].copy_from_slice(&digest);
    }
    let [one, _] = made;
    (flash, one)
}

/// An old store becomes a new one, and loses nothing on the way, whenever the power goes.
#[test]
fn an_old_layout_is_migrated() {
    let (old, made) = of_layout_1();
    let mut cuts = 0;
    loop {
        let mut flash = old.clone();
        flash.cut_after(cuts, [Cut::Halfway, Cut::Noise][cuts % 2]);
        let (outcome, mut flash) = boot(flash);
        flash.power_up();
        let mut flash = Flash::new(flash);
        let mut key = Authenticator::boot(&mut flash, Platform::seeded(8)).unwrap();
        let answer = send(&mut key, &[0x06, 0xa1, 0x02, 0x01]).unwrap();
        assert_eq!(member(&answer, 3), Some(6.into()), "cut {cuts}: the tries that were left");
        assert_eq!(key.change_pin("0000", "3141"), Err(crate::Refusal::PinIsWrong(5)));
        key.change_pin("2718", "3141").unwrap();
        sign_in(&mut key, SITE, &made).unwrap();
        drop(key);
        let flash = flash.into_storage();
        assert_eq!(flash.raw()[8], 2);
        if outcome.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 3, "{cuts} cuts");
    // It has no certificate for an enterprise, and does not claim one.
    let mut platform = Platform::seeded(8);
    platform.identity.enterprise_attestation = true;
    let mut flash = Flash::new(old);
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(option(&mut key, "ep"), None);
}
