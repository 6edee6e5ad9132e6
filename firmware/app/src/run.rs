//! The main loop.

use brasskey_authenticator::{Authenticator, Platform};
use brasskey_usb::{Application, Key};

use crate::usb::{self, LINK, MESSAGE_LEN};
use crate::{Board, Body};

/// What the main loop runs: a key on its board.
pub trait Resident: Key {
    /// No request is there: see to the button and to the watchdog.
    fn idle(&mut self);
    /// An answer is ready.
    fn wake_usb(&mut self);
    /// Sleeps until an interrupt.
    fn sleep(&mut self);
}

impl<B: Board> Resident for Authenticator<'_, Body<B>> {
    fn idle(&mut self) {
        self.platform().user().idle();
    }

    fn wake_usb(&mut self) {
        self.platform().user().board().wake_usb();
    }

    fn sleep(&mut self) {
        self.platform().user().board().sleep();
    }
}

/// The application's place.
pub type App = Application<'static, MESSAGE_LEN>;

/// Makes the application. `None` the second time.
pub fn application() -> Option<App> {
    Some(Application::new(usb::responder()?, &LINK))
}

/// Answers requests for ever.
pub fn run(application: &mut App, key: &mut impl Resident) -> ! {
    loop {
        if application.poll(key) {
            key.wake_usb();
            continue;
        }
        key.idle();
        // A request that came since the look above has ended a tick's sleep at the latest.
        key.sleep();
    }
}
