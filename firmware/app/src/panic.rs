//! What happens after a panic or a fault: everything secret is overwritten, and the key starts anew.

use core::cell::Cell;
use core::panic::{Location, PanicInfo};
use critical_section::Mutex;

use crate::memory::wipe_and_reset;

static HOOK: Mutex<Cell<Option<fn(&Location<'_>)>>> = Mutex::new(Cell::new(None));

/// Has `hook` told of a panic's place, for a board that can show it. The panic's text is not: it may hold a secret.
pub fn set_panic_hook(hook: fn(&Location<'_>)) {
    critical_section::with(|token| HOOK.borrow(token).set(Some(hook)));
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // Taken, so that a hook that panics itself does not come round again.
    let hook = critical_section::with(|token| HOOK.borrow(token).take());
    if let (Some(hook), Some(location)) = (hook, info.location()) {
        hook(location);
    }
    wipe_and_reset()
}

/// Every fault, a stack that overflowed first of all.
// SAFETY: cortex-m-rt's vector table enters here with a stack pointer that may have left RAM, which is why there is no
// trampoline; what is called works without a stack.
#[cortex_m_rt::exception(trampoline = false)]
unsafe fn HardFault() -> ! {
    wipe_and_reset()
}
