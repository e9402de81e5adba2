//! Copies to and from memory that several threads may touch at once.
//!
//! A mapped log is written by many threads through a safe method, so overlapping writes must be a mixture of bytes and
//! not undefined behaviour. Both functions here behave as a series of relaxed atomic accesses of *one byte each*, which the
//! memory model allows to race. Done literally that costs a cycle or more per byte, and wider atomics may not overlap
//! each other; so on x86-64 the accesses to shared memory are wide instructions in `asm!` blocks. The compiler knows nothing
//! of such a block but that it may touch memory, and the processor makes each byte of it appear in some order: one of
//! the executions that the one-byte accesses have.
#![allow(unsafe_code)]

/// Stores `bytes` at `dst`, as relaxed atomic one-byte stores in any order.
///
/// # Safety
/// `dst` must be valid for writes of `bytes.len()` bytes, no reference to them may exist, and meanwhile they must be
/// accessed by nothing but this module (and other processes or the system).
#[inline]
pub(crate) unsafe fn store(dst: *mut u8, bytes: &[u8]) {
    // SAFETY: the caller's promise; `bytes` is a live slice, and does not overlap `dst` because a reference to it exists.
    unsafe { imp::store(dst, bytes.as_ptr(), bytes.len()) }
}

/// Loads `out.len()` bytes from `src`, as relaxed atomic one-byte loads in any order.
///
/// # Safety
/// As for [`store`], with `src` valid for reads.
#[inline]
pub(crate) unsafe fn load(src: *const u8, out: &mut [u8]) {
    // SAFETY: the caller's promise; `out` is exclusively borrowed.
    unsafe { imp::load(src, out.as_mut_ptr(), out.len()) }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod imp {
    use std::arch::asm;
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

    /// # Safety
    /// 16 bytes are readable at `src` and writable at the shared `dst`.
    #[inline(always)]
    unsafe fn store16(dst: *mut u8, src: *const u8) {
        // SAFETY: the caller's promise; SSE2 is part of x86-64.
        unsafe {
            let value = _mm_loadu_si128(src.cast::<__m128i>());
            asm!("movups [{dst}], {value}", dst = in(reg) dst, value = in(xmm_reg) value,
                options(nostack, preserves_flags));
        }
    }

    /// # Safety
    /// 8 bytes are readable at `src` and writable at the shared `dst`.
    #[inline(always)]
    unsafe fn store8(dst: *mut u8, src: *const u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let value = src.cast::<u64>().read_unaligned();
            asm!("mov qword ptr [{dst}], {value}", dst = in(reg) dst, value = in(reg) value,
                options(nostack, preserves_flags));
        }
    }

    /// # Safety
    /// One byte is readable at `src` and writable at the shared `dst`.
    #[inline(always)]
    unsafe fn store1(dst: *mut u8, src: *const u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let value = src.read();
            asm!("mov byte ptr [{dst}], {value}", dst = in(reg) dst, value = in(reg_byte) value,
                options(nostack, preserves_flags));
        }
    }

    /// # Safety
    /// 16 bytes are readable at the shared `src` and writable at `dst`.
    #[inline(always)]
    unsafe fn load16(src: *const u8, dst: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let value: __m128i;
            asm!("movups {value}, [{src}]", src = in(reg) src, value = out(xmm_reg) value,
                options(nostack, preserves_flags, readonly));
            _mm_storeu_si128(dst.cast::<__m128i>(), value);
        }
    }

    /// # Safety
    /// One byte is readable at the shared `src` and writable at `dst`.
    #[inline(always)]
    unsafe fn load1(src: *const u8, dst: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let value: u8;
            asm!("mov {value}, byte ptr [{src}]", src = in(reg) src, value = out(reg_byte) value,
                options(nostack, preserves_flags, readonly));
            dst.write(value);
        }
    }

    /// # Safety
    /// As [`super::store`].
    #[inline]
    pub(super) unsafe fn store(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: every access below lies within the first `len` bytes of `dst` and `src`. The last one may overlap the
        // one before it, and stores the same bytes again.
        unsafe {
            if len >= 16 {
                let mut at = 0;
                while at + 64 <= len {
                    store16(dst.add(at), src.add(at));
                    store16(dst.add(at + 16), src.add(at + 16));
                    store16(dst.add(at + 32), src.add(at + 32));
                    store16(dst.add(at + 48), src.add(at + 48));
                    at += 64;
                }
                while at + 16 <= len {
                    store16(dst.add(at), src.add(at));
                    at += 16;
                }
                if at < len {
                    store16(dst.add(len - 16), src.add(len - 16));
                }
            } else if len >= 8 {
                store8(dst, src);
                store8(dst.add(len - 8), src.add(len - 8));
            } else {
                for at in 0..len {
                    store1(dst.add(at), src.add(at));
                }
            }
        }
    }

    /// # Safety
    /// As [`super::load`].
    #[inline]
    pub(super) unsafe fn load(src: *const u8, dst: *mut u8, len: usize) {
        // SAFETY: as in `store`.
        unsafe {
            if len >= 16 {
                let mut at = 0;
                while at + 16 <= len {
                    load16(src.add(at), dst.add(at));
                    at += 16;
                }
                if at < len {
                    load16(src.add(len - 16), dst.add(len - 16));
                }
            } else {
                for at in 0..len {
                    load1(src.add(at), dst.add(at));
                }
            }
        }
    }
}

#[cfg(any(not(target_arch = "x86_64"), miri))]
mod imp {
    use std::sync::atomic::{AtomicU8, Ordering};

    /// # Safety
    /// As [`super::store`].
    pub(super) unsafe fn store(dst: *mut u8, src: *const u8, len: usize) {
        for at in 0..len {
            // SAFETY: within the first `len` bytes of both.
            unsafe { AtomicU8::from_ptr(dst.add(at)).store(src.add(at).read(), Ordering::Relaxed) };
        }
    }

    /// # Safety
    /// As [`super::load`].
    pub(super) unsafe fn load(src: *const u8, dst: *mut u8, len: usize) {
        for at in 0..len {
            // SAFETY: within the first `len` bytes of both; shared memory is only ever read or written by `load` and `store`.
            unsafe {
                dst.add(at)
                    .write(AtomicU8::from_ptr(src.add(at).cast_mut()).load(Ordering::Relaxed))
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_alignment_is_copied_exactly_both_ways() {
        let bytes: Vec<u8> = (0..300u32).map(|i| (i * 7 + 1) as u8).collect();
        for len in (0..200).chain([255, 256, 283]) {
            for shift in 0..17 {
                let mut shared = vec![0xAAu8; 320];
                let base = shared.as_mut_ptr();
                let mut back = vec![0u8; len];
                // SAFETY: shift + len <= 300 < 320, and `shared` is touched by nothing else.
                unsafe {
                    store(base.add(shift), &bytes[..len]);
                    load(base.add(shift), &mut back);
                }
                assert_eq!(back, &bytes[..len]);
                assert_eq!(&shared[shift..shift + len], &bytes[..len]);
                assert!(
                    shared[..shift].iter().all(|&byte| byte == 0xAA),
                    "bytes before were touched"
                );
                assert!(
                    shared[shift + len..].iter().all(|&byte| byte == 0xAA),
                    "bytes behind were touched"
                );
            }
        }
    }
}
