//! [`Board`]: what a board supplies; [`Body`]: what the authenticator gets of it.

use brasskey_authenticator::{Identity, Platform, Presence, Prompt, UserPresence};
use littlefs2::driver::Storage;
use rand_core::CryptoRng;

use crate::clock::{self, Clock};
use crate::light::{self, Pattern};
use crate::touch::{Answer, Button, Polled, Press};
use crate::usb::LINK;

/// What a board supplies beside its flash and its USB peripheral.
pub trait Board {
    /// The flash.
    type Storage: Storage;
    /// The random generator: mostly a [`Drbg`](crate::random::Drbg).
    type Rng: CryptoRng;

    /// The random generator.
    fn rng(&mut self) -> &mut Self::Rng;
    /// Which product this is. Its `max_msg_size` is [`MESSAGE_LEN`](crate::MESSAGE_LEN).
    fn identity(&self) -> &Identity;
    /// What the button's pin says now.
    fn button(&mut self) -> Button;
    /// Makes the interrupt pending in which USB is served.
    fn wake_usb(&self);
    /// Sleeps until an interrupt.
    fn sleep(&self);
    /// The main loop goes on: the watchdog may be fed. A command, or one operation of the flash, is what lies between
    /// two calls at most.
    fn feed_watchdog(&mut self) {}
    /// A touch is wanted: for a body with a display. `polled`: by a host that asks again and again; until
    /// [`Self::prompt_over`].
    fn prompt(&mut self, _prompt: &Prompt<'_>, _polled: bool) {}
    /// No touch is wanted any longer.
    fn prompt_over(&mut self) {}
    /// The light winks, which needs no help; for a body with a display.
    fn winks(&mut self) {}
}

/// The board as the authenticator sees it.
pub struct Body<B> {
    user: User<B>,
    clock: Clock,
}

impl<B: Board> Body<B> {
    /// The body of `board`.
    pub fn new(board: B) -> Self {
        Self { user: User { board, polled: Polled::default() }, clock: Clock }
    }
}

impl<B: Board> Platform for Body<B> {
    type Storage = B::Storage;
    type Rng = B::Rng;
    type Clock = Clock;
    type UserPresence = User<B>;

    fn rng(&mut self) -> &mut B::Rng {
        self.user.board.rng()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn user(&mut self) -> &mut User<B> {
        &mut self.user
    }

    fn identity(&self) -> &Identity {
        self.user.board.identity()
    }
}

/// The user, by way of a button and a light.
pub struct User<B> {
    board: B,
    polled: Polled,
}

impl<B: Board> User<B> {
    /// The board, for what is its own.
    pub fn board(&mut self) -> &mut B {
        &mut self.board
    }

    /// What is to be done while no request runs: a host that polls may be waiting for a press.
    pub(crate) fn idle(&mut self) {
        self.board.feed_watchdog();
        if self.polled.is_open() {
            self.polled.look(self.board.button(), clock::now_ms());
            self.show_polled();
            if !self.polled.is_open() {
                self.board.prompt_over();
            }
        }
    }

    fn show_polled(&self) {
        light::show(if self.polled.is_waiting() { Pattern::Waiting } else { Pattern::Idle });
    }

    /// Answers a host that polls, at once.
    fn poll(&mut self, prompt: &Prompt<'_>) -> Presence {
        let was_open = self.polled.is_open();
        let (new, answer) = self.polled.ask(prompt, clock::now_ms());
        if was_open && (new || !self.polled.is_open()) {
            self.board.prompt_over();
        }
        if new {
            // A look before anybody can know of the question: the button is up now, or it was down all along.
            self.polled.look(self.board.button(), clock::now_ms());
            self.board.prompt(prompt, true);
        }
        self.show_polled();
        match answer {
            None => Presence::TimedOut,
            Some(Answer::Granted) => Presence::Granted,
            Some(Answer::Refused) => Presence::Denied,
        }
    }
}

impl<B: Board> UserPresence for User<B> {
    fn wait(&mut self, prompt: &Prompt<'_>, timeout_ms: u32) -> Presence {
        if timeout_ms == 0 {
            return self.poll(prompt);
        }
        if self.polled.is_open() {
            self.polled.forget();
            self.board.prompt_over();
        }
        let deadline = clock::now_ms() + u64::from(timeout_ms);
        let mut press = Press::new(prompt.long_touch);
        // Likewise. A board where somebody says no has not been asked yet.
        press.look(self.board.button(), clock::now_ms());
        light::show(Pattern::Waiting);
        self.board.prompt(prompt, false);
        LINK.set_waiting_for_user(true);
        self.board.wake_usb();
        let presence = loop {
            let now = clock::now_ms();
            if LINK.is_cancelled() {
                break Presence::Cancelled;
            }
            match press.look(self.board.button(), now) {
                Some(Answer::Granted) => break Presence::Granted,
                Some(Answer::Refused) => break Presence::Denied,
                None if now >= deadline => break Presence::TimedOut,
                None => {}
            }
            self.board.feed_watchdog();
            self.board.sleep();
        };
        LINK.set_waiting_for_user(false);
        self.board.wake_usb();
        self.board.prompt_over();
        light::show(Pattern::Idle);
        presence
    }

    fn wink(&mut self) {
        light::wink(clock::now_ms());
        self.board.winks();
    }
}
