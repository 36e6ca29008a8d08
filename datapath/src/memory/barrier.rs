//! The one order that processors do not keep unasked: stores before loads.

/// What was stored before is visible to others before anything is loaded after.
#[inline(always)]
pub fn barrier() {
    // A locked instruction is as strong as `mfence`, which a fence is compiled to, for ordinary memory, and costs less.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: changes no bit of a word of this thread's stack.
    unsafe {
        std::arch::asm!("lock or dword ptr [rsp - 64], 0", options(nostack));
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
