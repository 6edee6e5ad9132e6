//! The functions of a C library that littlefs asks for, and that a bare target does not have (C17 §7.24). Copying and
//! comparing memory is the compiler's own matter.

use core::ffi::{c_char, c_int};

/// How long a string is, without its end.
///
/// # Safety
///
/// `text` is a string that ends with zero.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut length = 0;
    // SAFETY: up to the zero everything belongs to the string.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    length
}

/// Copies a string with its end.
///
/// # Safety
///
/// `from` is a string that ends with zero, and there is room for all of it at `to`.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
unsafe extern "C" fn strcpy(to: *mut c_char, from: *const c_char) -> *mut c_char {
    // SAFETY: as the caller promises. Strings that overlap are the caller's fault in C, too.
    unsafe { to.copy_from_nonoverlapping(from, strlen(from) + 1) };
    to
}

/// Finds a character, or the end if it is zero; null if there is none.
///
/// # Safety
///
/// As for [`strlen`].
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
unsafe extern "C" fn strchr(text: *const c_char, character: c_int) -> *const c_char {
    let wanted = character as c_char; // as C has it
    let mut at = text;
    loop {
        // SAFETY: up to the zero everything belongs to the string.
        match unsafe { *at } {
            found if found == wanted => return at,
            0 => return core::ptr::null(),
            // SAFETY: this was not the end.
            _ => at = unsafe { at.add(1) },
        }
    }
}

/// How many characters at the start are all among `set`, or all not.
///
/// # Safety
///
/// As for [`strlen`], both.
unsafe fn span(text: *const c_char, set: *const c_char, among: bool) -> usize {
    let mut length = 0;
    loop {
        // SAFETY: up to the zero everything belongs to the string, and `set` is one.
        let (character, found) = unsafe {
            let character = *text.add(length);
            (character, !strchr(set, c_int::from(character)).is_null())
        };
        if character == 0 || found != among {
            return length;
        }
        length += 1;
    }
}

/// How many characters at the start are among `set`.
///
/// # Safety
///
/// As for [`strlen`], both.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
unsafe extern "C" fn strspn(text: *const c_char, set: *const c_char) -> usize {
    // SAFETY: as the caller promises.
    unsafe { span(text, set, true) }
}

/// How many characters at the start are not among `set`.
///
/// # Safety
///
/// As for [`strlen`], both.
#[cfg_attr(target_os = "none", unsafe(no_mangle))]
unsafe extern "C" fn strcspn(text: *const c_char, set: *const c_char) -> usize {
    // SAFETY: as the caller promises.
    unsafe { span(text, set, false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn as_c_has_it() {
        let (empty, text, set): (&CStr, &CStr, &CStr) = (c"", c"//rk/00", c"/");
        // SAFETY: strings that end with zero, and room for the longest.
        unsafe {
            assert_eq!((strlen(empty.as_ptr()), strlen(text.as_ptr())), (0, 7));
            assert_eq!((strspn(text.as_ptr(), set.as_ptr()), strspn(empty.as_ptr(), set.as_ptr())), (2, 0));
            let after = text.as_ptr().add(2);
            assert_eq!((strcspn(after, set.as_ptr()), strcspn(after, empty.as_ptr())), (2, 5));
            assert_eq!(strchr(after, c_int::from(b'/')), after.add(2));
            assert_eq!(strchr(after, 0), after.add(5));
            assert!(strchr(after, c_int::from(b'x')).is_null());
            let mut copy = [1; 9];
            assert_eq!(strcpy(copy.as_mut_ptr(), text.as_ptr()), copy.as_mut_ptr());
            assert_eq!(CStr::from_ptr(copy.as_ptr()), text);
            assert_eq!(copy[8], 1);
        }
    }
}
