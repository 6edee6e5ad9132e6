//! Raw memory: how deep the stack got, and the end of everything secret.
//!
//! Every board lays its RAM out in the same way, by its `memory.x`: the stack at the very bottom, all else above it. A
//! stack that overflows leaves RAM and faults at once, before it has overwritten anything; the fault ends as a panic
//! does.
//!
//! The symbols come from `memory.x` (`_ram_start`, `_ram_end`) and from cortex-m-rt (`_stack_start`, the stack's top).
//! The stack's lowest address is `_ram_start`.

use core::arch::asm;
use core::ptr::addr_of;

unsafe extern "C" {
    static _ram_start: u32;
    static _ram_end: u32;
    static _stack_start: u32;
}

/// What unused stack is filled with.
const PAINT: u32 = 0xA5C3_5A3C;

/// Left unpainted below the stack pointer: what an interrupt may push between the two instructions.
const MARGIN: usize = 256;

fn stack_bottom() -> usize {
    addr_of!(_ram_start) as usize
}

fn stack_top() -> usize {
    addr_of!(_stack_start) as usize
}

/// How large the stack is, in bytes.
pub fn stack_len() -> usize {
    stack_top() - stack_bottom()
}

/// Paints what of the stack is not in use now.
#[inline(never)]
pub fn paint_stack() {
    let sp: usize;
    // SAFETY: only reads the stack pointer.
    unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    let end = sp.saturating_sub(MARGIN);
    let mut at = stack_bottom();
    while at < end {
        // SAFETY: between the stack's bottom and its pointer nothing lives. An interrupt that comes meanwhile pushes
        // within the margin, or is done with what it pushed when this goes on.
        unsafe { (at as *mut u32).write_volatile(PAINT) };
        at += 4;
    }
}

/// The deepest that the stack was since it was painted, in bytes.
pub fn stack_high_water() -> usize {
    let mut at = stack_bottom();
    // SAFETY: an aligned address within the stack.
    while at < stack_top() && unsafe { (at as *const u32).read_volatile() } == PAINT {
        at += 4;
    }
    stack_top() - at
}

/// Overwrites all RAM and resets the processor.
///
/// Works with any stack pointer, also with one that left RAM: it uses registers only.
pub fn wipe_and_reset() -> ! {
    /// Application interrupt and reset control: the key, and SYSRESETREQ (ARMv7-M B3.2.6).
    const AIRCR: u32 = 0xE000_ED0C;
    const RESET: u32 = 0x05FA_0004;
    // SAFETY: nothing runs afterwards that could miss what is overwritten: interrupts are masked, and the loop uses
    // registers only until the reset.
    unsafe {
        asm!(
            "cpsid i",
            "2:",
            "cmp {at}, {end}",
            "bhs 3f",
            "str {zero}, [{at}], #4",
            "b 2b",
            "3:",
            "dsb",
            "str {reset}, [{aircr}]",
            "dsb",
            "4:",
            "b 4b",
            at = in(reg) addr_of!(_ram_start),
            end = in(reg) addr_of!(_ram_end),
            zero = in(reg) 0,
            reset = in(reg) RESET,
            aircr = in(reg) AIRCR,
            options(noreturn),
        )
    }
}
