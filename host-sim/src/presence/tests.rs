//! Fingers by rule and by question, with the USB side played by the test.

use super::terminal::tests::Screen;
use super::*;
use std::cell::RefCell;
use std::thread;

const HASH: [u8; 32] = [0xAB; 32];

thread_local! {
    static TERMINAL: RefCell<Option<Arc<Terminal>>> = const { RefCell::new(None) };
}

/// A finger, its USB side, its terminal and what that shows.
struct Bench {
    finger: Finger,
    shared: Arc<Shared>,
    terminal: Arc<Terminal>,
    screen: Screen,
}

fn bench(policy: PresencePolicy) -> Bench {
    let shared = Shared::new();
    let screen = Screen::default();
    let terminal = Terminal::new(Box::new(screen.clone()));
    TERMINAL.set(Some(Arc::clone(&terminal)));
    let mut finger = Finger::new(policy, Some(Arc::clone(&shared)), None);
    finger.terminal = || TERMINAL.with_borrow(Clone::clone);
    Bench { finger, shared, terminal, screen }
}

fn prompt(operation: Operation) -> Prompt<'static> {
    Prompt { operation, rp_id: None, rp_id_hash: Some(&HASH), user: None, long_touch: false }
}

/// Runs a wait, and `meanwhile` as soon as the host was told that a touch is wanted.
fn during_wait(
    bench: &mut Bench,
    timeout_ms: u32,
    meanwhile: impl FnOnce(&Shared, &Terminal) + Send,
) -> Presence {
    let Bench { finger, shared, terminal, .. } = bench;
    thread::scope(|scope| {
        let (shared, terminal) = (&*shared, &*terminal);
        scope.spawn(move || {
            while !shared.link.is_waiting_for_user() {
                thread::yield_now();
            }
            meanwhile(shared, terminal);
        });
        finger.wait(&prompt(Operation::Register), timeout_ms)
    })
}

#[test]
fn rules_answer_polls_at_once() {
    let mut bench = bench(PresencePolicy::Auto);
    for _ in 0..2 {
        assert_eq!(bench.finger.wait(&prompt(Operation::Register), 0), Presence::Granted);
    }
    let mut finger = Finger::new(PresencePolicy::Deny, Some(bench.shared), None);
    assert_eq!(finger.wait(&prompt(Operation::Register), 0), Presence::Denied);
    assert_eq!(finger.wait(&prompt(Operation::Register), 30_000), Presence::Denied);
}

#[test]
fn auto_waits_for_the_keep_alive() {
    let mut bench = bench(PresencePolicy::Auto);
    // Left over from a touch before: does not count.
    bench.shared.asked_for_touch.store(true, Ordering::Release);
    let presence = during_wait(&mut bench, 30_000, |shared, _| {
        shared.signal.raise();
        assert!(!shared.asked_for_touch.load(Ordering::Acquire));
        shared.asked_for_touch.store(true, Ordering::Release);
        shared.signal.raise();
    });
    assert_eq!(presence, Presence::Granted);
    assert!(!bench.shared.link.is_waiting_for_user());
    // A host that never fetches the keep-alive.
    assert_eq!(bench.finger.wait(&prompt(Operation::Register), 1), Presence::TimedOut);
}

#[test]
fn a_wait_ends_by_cancel_and_by_power_off() {
    let mut key = bench(PresencePolicy::Auto);
    let presence = during_wait(&mut key, 30_000, |shared, _| {
        shared.link.cancel();
        shared.signal.raise();
    });
    assert_eq!(presence, Presence::Cancelled);

    let mut key = bench(PresencePolicy::Ask);
    let presence = during_wait(&mut key, 30_000, |shared, _| shared.signal.turn_off());
    assert_eq!(presence, Presence::Cancelled);
    assert!(key.screen.take().ends_with("[y/n] \nThe host has taken the question back.\n"));
}

#[test]
fn the_user_is_asked_and_heard() {
    let mut bench = bench(PresencePolicy::Ask);
    assert_eq!(during_wait(&mut bench, 30_000, |_, terminal| terminal.line("y")), Presence::Granted);
    assert_eq!(
        bench.screen.take(),
        "a U2F site (AppID hash abababababababab…) wants to register this key [y/n] "
    );
    // The answer is used up.
    assert_eq!(during_wait(&mut bench, 30_000, |_, terminal| terminal.line("n")), Presence::Denied);
    bench.screen.take();
    assert_eq!(bench.finger.wait(&prompt(Operation::Register), 1), Presence::TimedOut);
    assert!(bench.screen.take().ends_with("\nNo answer in time.\n"));
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let mut bench = bench(PresencePolicy::Ask);
    bench.finger.terminal = || None;
    assert_eq!(bench.finger.wait(&prompt(Operation::Register), 30_000), Presence::Denied);
    assert_eq!(bench.finger.wait(&prompt(Operation::Register), 0), Presence::Denied);
    assert!(!bench.shared.link.is_waiting_for_user());
}

#[test]
fn a_polling_host_gets_one_question_and_one_answer() {
    let mut bench = bench(PresencePolicy::Ask);
    let register = prompt(Operation::Register);
    for _ in 0..3 {
        assert_eq!(bench.finger.wait(&register, 0), Presence::TimedOut);
    }
    assert_eq!(bench.screen.take().matches("[y/n]").count(), 1);
    bench.terminal.line("y");
    // For another operation the answer does not count: its question replaces the first.
    let sign_in = prompt(Operation::Authenticate);
    assert_eq!(bench.finger.wait(&sign_in, 0), Presence::TimedOut);
    assert_eq!(bench.finger.wait(&register, 0), Presence::TimedOut);
    bench.terminal.line("y");
    assert_eq!(bench.finger.wait(&register, 0), Presence::Granted);
    assert_eq!(bench.finger.wait(&register, 0), Presence::TimedOut);
    // A no stands as long as the host polls on.
    bench.terminal.line("n");
    bench.screen.take();
    assert_eq!(bench.finger.wait(&register, 0), Presence::Denied);
    assert_eq!(bench.finger.wait(&register, 0), Presence::Denied);
    assert_eq!(bench.screen.take(), "");
}

#[test]
fn another_site_does_not_get_the_answer() {
    let mut bench = bench(PresencePolicy::Ask);
    assert_eq!(bench.finger.wait(&prompt(Operation::Register), 0), Presence::TimedOut);
    bench.terminal.line("y");
    let other = Prompt { rp_id_hash: Some(&[1; 32]), ..prompt(Operation::Register) };
    assert_eq!(bench.finger.wait(&other, 0), Presence::TimedOut);
}

#[test]
fn what_a_host_stops_polling_for_is_forgotten() {
    let start = Instant::now();
    let mut bench = bench(PresencePolicy::Ask);
    assert_eq!(bench.finger.next_tick(), None);
    assert_eq!(bench.finger.wait(&prompt(Operation::Register), 0), Presence::TimedOut);
    assert!(bench.finger.next_tick().is_some_and(|tick| tick >= start + POLL_PAUSE));
    bench.finger.expire(start + POLL_PAUSE / 2);
    bench.screen.take();
    bench.finger.expire(Instant::now() + POLL_PAUSE);
    assert_eq!(bench.screen.take(), "\nThe host has stopped asking.\n");
    assert_eq!(bench.finger.next_tick(), None);

    // A yes that is not fetched in time is asked for again.
    assert_eq!(bench.finger.wait(&prompt(Operation::Register), 0), Presence::TimedOut);
    bench.terminal.line("y");
    bench.finger.expire(Instant::now() + POLL_PAUSE + ANSWER_LIFE);
    assert_eq!(bench.finger.wait(&prompt(Operation::Register), 0), Presence::TimedOut);
}

#[test]
fn names_are_shown_escaped() {
    let mut bench = bench(PresencePolicy::Ask);
    let hostile = Prompt {
        operation: Operation::Authenticate,
        rp_id: Some("good.example\x1b[1A\r"),
        rp_id_hash: Some(&HASH),
        user: Some("\u{202e}ecila"),
        long_touch: false,
    };
    assert_eq!(bench.finger.wait(&hostile, 0), Presence::TimedOut);
    assert_eq!(bench.screen.take(), "good.example\\u{1b}[1A\\u{d} wants to sign in “\\u{202e}ecila” [y/n] ");
}

#[test]
fn a_tests_finger_is_scanned_and_the_policys_is_always_the_same() {
    use crate::control::{Control, Fingerprint, Held};
    let control = Control::new(true);
    let mut bench = bench(PresencePolicy::Auto);
    bench.finger.touch = Some(Arc::clone(&control.touch));
    let mut scan = || bench.finger.scan(&prompt(Operation::Enroll), 0);
    let own = Scan::Finger(Fingerprint::of("right-index").0);
    assert_eq!([scan(), scan()], [own; 2]);
    control.hold(Held::On(Sample::Finger(Fingerprint::of("thumb"))));
    assert_eq!(scan(), Scan::Finger(Fingerprint::of("thumb").0));
    control.hold(Held::On(Sample::Poor));
    assert_eq!(scan(), Scan::Poor(POOR_QUALITY));
    control.hold(Held::Deny);
    assert_eq!(scan(), Scan::Denied);
    control.hold(Held::Never);
    assert_eq!(scan(), Scan::TimedOut);
    control.hold(Held::Away);
    assert_eq!(scan(), own);
}

#[test]
fn under_control_a_question_may_be_answered_by_either() {
    use crate::control::{Control, Held};
    let control = Control::new(false);
    let mut bench = bench(PresencePolicy::Ask);
    bench.finger.touch = Some(Arc::clone(&control.touch));
    control.touch.wake(&bench.shared);
    let presence = during_wait(&mut bench, 30_000, |_, terminal| terminal.line("n"));
    assert_eq!(presence, Presence::Denied);
    let presence = during_wait(&mut bench, 30_000, |shared, _| {
        control.hold(Held::On(Sample::Poor));
        // Not before the host has heard of it.
        shared.asked_for_touch.store(true, Ordering::Release);
        shared.signal.raise();
    });
    assert_eq!(presence, Presence::Granted);
    assert!(bench.screen.take().ends_with("\nNever mind.\n"));
}
