//! What the C library would say, said by the seed: randomness and the time, for the thread that simulates and for no other.
//!
//! Hash maps, the runtime's own dice, keys and nonces all draw from `getrandom`, by one way or another; with these in its
//! place, a seed makes the same keys and the same order of everything. Threads that have no seed get what the system says.
#![allow(unsafe_code, reason = "functions of the C library are replaced, and called past it")]

use std::arch::asm;
use std::cell::Cell;
use std::time::Duration;

use crate::chance::mixed;

thread_local! {
    static DRAWN: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// What the wall clocks say when a simulation begins: 2026-11-25T11:59:46Z, a Wednesday.
pub const BEGIN: Duration = Duration::from_secs(1_795_607_986);
/// What the monotonic clocks say then.
const UPTIME: Duration = Duration::from_secs(1_000_000);

/// From here on, this thread is told what this seed says.
pub fn seed(seed: u64) {
    DRAWN.set(Some((seed, 0)));
}

/// How far the simulation has come.
pub fn now() -> Duration {
    NOW.get()
}

pub fn set_now(now: Duration) {
    NOW.set(now);
}

/// Fills memory as the seed says; whether this thread has one.
unsafe fn fill(to: *mut u8, bytes: usize) -> bool {
    let Some((seed, mut drawn)) = DRAWN.get() else { return false };
    for at in 0..bytes {
        // SAFETY: whoever calls owns so many bytes there.
        unsafe { to.add(at).write(mixed(seed, drawn) as u8) };
        drawn += 1;
    }
    DRAWN.set(Some((seed, drawn)));
    true
}

/// Calls the system itself.
unsafe fn system(number: libc::c_long, arguments: [libc::c_long; 6]) -> libc::c_long {
    let [a, b, c, d, e, f] = arguments;
    let answer: libc::c_long;
    // SAFETY: what is asked for is what the caller asks of the library.
    unsafe {
        asm!("syscall", inlateout("rax") number => answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if (-4_095..0).contains(&answer) {
        // SAFETY: the place is this thread's own.
        unsafe { *libc::__errno_location() = -answer as i32 };
        return -1;
    }
    answer
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(to: *mut u8, bytes: usize, flags: u32) -> isize {
    // SAFETY: as the library's own.
    unsafe {
        if fill(to, bytes) {
            return bytes as isize;
        }
        system(libc::SYS_getrandom, [to as libc::c_long, bytes as libc::c_long, flags.into(), 0, 0, 0]) as isize
    }
}

/// It takes as many arguments as are given; on this machine they lie where six would.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: libc::c_long,
    a: libc::c_long,
    b: libc::c_long,
    c: libc::c_long,
    d: libc::c_long,
    e: libc::c_long,
    f: libc::c_long,
) -> libc::c_long {
    // SAFETY: as the library's own.
    unsafe {
        if number == libc::SYS_getrandom && fill(a as *mut u8, b as usize) {
            return b;
        }
        system(number, [a, b, c, d, e, f])
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, to: *mut libc::timespec) -> libc::c_int {
    // SAFETY: as the library's own.
    unsafe {
        let said = match clock {
            _ if DRAWN.get().is_none() => None,
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => Some(BEGIN + NOW.get()),
            libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => Some(UPTIME + NOW.get()),
            _ => None,
        };
        match said {
            Some(said) => to.write(libc::timespec { tv_sec: said.as_secs() as i64, tv_nsec: said.subsec_nanos().into() }),
            None => return system(libc::SYS_clock_gettime, [clock.into(), to as libc::c_long, 0, 0, 0, 0]) as libc::c_int,
        }
    }
    0
}
