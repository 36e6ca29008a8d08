//! DPDK's vhost library between two guests, with their driver in the same thread: what a frame costs when no cache line
//! changes cores. It is what testpmd does with two `net_vhost` ports, without testpmd.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::guest::Pair;
use crate::report::Report;
use crate::ring::Ring;
use crate::traffic;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const BUFFERS: c_uint = 16384;
const CACHE: c_uint = 256;
const ROOM: u16 = 2048 + 128; // RTE_MBUF_DEFAULT_BUF_SIZE
/// As net_vhost has them: NET_COMPLIANT_OL_FLAGS, NET_STATS_ENABLE.
const FLAGS: u64 = 1 << 8 | 1 << 9;

/// rte_vhost_device_ops.
#[repr(C)]
struct Callbacks {
    new_device: extern "C" fn(c_int) -> c_int,
    destroy_device: extern "C" fn(c_int),
    others: [*const c_void; 6],
}

// SAFETY: never written.
unsafe impl Sync for Callbacks {}

#[link(name = "rte_eal")]
#[link(name = "rte_mbuf")]
#[link(name = "rte_vhost")]
unsafe extern "C" {
    fn rte_eal_init(count: c_int, words: *mut *mut c_char) -> c_int;
    fn rte_pktmbuf_pool_create(
        name: *const c_char,
        count: c_uint,
        cache: c_uint,
        private: u16,
        room: u16,
        node: c_int,
    ) -> *mut c_void;
    fn rte_pktmbuf_free_bulk(buffers: *mut *mut c_void, count: c_uint);
    fn rte_vhost_driver_register(path: *const c_char, flags: u64) -> c_int;
    fn rte_vhost_driver_callback_register(path: *const c_char, callbacks: *const Callbacks) -> c_int;
    fn rte_vhost_driver_start(path: *const c_char) -> c_int;
    fn rte_vhost_driver_unregister(path: *const c_char) -> c_int;
    fn rte_vhost_enable_guest_notification(device: c_int, queue: u16, on: c_int) -> c_int;
    fn rte_vhost_dequeue_burst(
        device: c_int,
        queue: u16,
        pool: *mut c_void,
        buffers: *mut *mut c_void,
        count: u16,
    ) -> u16;
    fn rte_vhost_enqueue_burst(device: c_int, queue: u16, buffers: *mut *mut c_void, count: u16) -> u16;
}

static CALLBACKS: Callbacks = Callbacks { new_device, destroy_device, others: [ptr::null(); 6] };
/// The numbers of the devices whose guests are ready, in the order they became so.
static DEVICES: [AtomicI32; 2] = [AtomicI32::new(-1), AtomicI32::new(-1)];

extern "C" fn new_device(device: c_int) -> c_int {
    let place = usize::from(DEVICES[0].load(Ordering::Acquire) >= 0);
    DEVICES[place].store(device, Ordering::Release);
    0
}

extern "C" fn destroy_device(_device: c_int) {}

pub fn measure<R: Ring>(arguments: &Arguments) -> io::Result<Report> {
    let sockets =
        [0, 1].map(|number| std::env::temp_dir().join(format!("softdpu-bench-{}-{number}", std::process::id())));
    let library = Library::start(arguments, sockets)?;
    let mut pair = Pair::<R>::join(arguments, &library.sockets)?;
    let devices = library.devices()?;
    let mut burst = vec![ptr::null_mut(); usize::from(arguments.burst)];
    let mut forward = |from: usize| {
        // SAFETY: `burst` has room for as many as are asked for; both devices are there as long as `pair` is.
        unsafe {
            let count =
                rte_vhost_dequeue_burst(devices[from], TRANSMIT, library.pool, burst.as_mut_ptr(), burst.len() as u16);
            rte_vhost_enqueue_burst(devices[1 - from], RECEIVE, burst.as_mut_ptr(), count);
            rte_pktmbuf_free_bulk(burst.as_mut_ptr(), count.into());
        }
    };
    pair.greet(|| [0, 1].into_iter().for_each(&mut forward))?;
    let windows = traffic::together(&mut pair, arguments, || forward(0))?;
    Ok(Report { windows, disorder: pair.disorder() })
}

/// DPDK, listening on two sockets.
struct Library {
    sockets: [PathBuf; 2],
    pool: *mut c_void,
}

impl Library {
    fn start(arguments: &Arguments, sockets: [PathBuf; 2]) -> io::Result<Library> {
        initialise(arguments)?;
        // SAFETY: the name outlives the call.
        let pool = unsafe { rte_pktmbuf_pool_create(c"bench".as_ptr(), BUFFERS, CACHE, 0, ROOM, -1) };
        if pool.is_null() {
            return Err(io::Error::other("DPDK has no memory for its packets"));
        }
        sockets.iter().try_for_each(|socket| listen(socket))?;
        Ok(Library { sockets, pool })
    }

    /// Waits until both guests are ready. As net_vhost does, asks their drivers for no kicks.
    fn devices(&self) -> io::Result<[c_int; 2]> {
        let end = Instant::now() + Duration::from_secs(5);
        while DEVICES[1].load(Ordering::Acquire) < 0 {
            if Instant::now() > end {
                return Err(io::Error::other("DPDK does not find its guests ready"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let devices = [0, 1].map(|number| DEVICES[number].load(Ordering::Acquire));
        for (device, queue) in [0, 1, 2, 3].map(|number| (devices[number / 2], number as u16 % 2)) {
            // SAFETY: both are numbers of devices.
            unsafe { rte_vhost_enable_guest_notification(device, queue, 0) };
        }
        Ok(devices)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        for socket in &self.sockets {
            // SAFETY: the path outlives the call.
            unsafe { rte_vhost_driver_unregister(path(socket).as_ptr()) };
        }
    }
}

fn initialise(arguments: &Arguments) -> io::Result<()> {
    let core = arguments.core.unwrap_or(0);
    let memory = arguments
        .huge_dir
        .as_ref()
        .map_or_else(|| "--no-huge -m 128".to_owned(), |place| format!("-m 256 --huge-dir {place} --huge-unlink"));
    let line = format!("bench --lcores 0@{core} {memory} --no-pci --no-telemetry --no-shconf --log-level *:error");
    let words: Vec<CString> = line.split(' ').map(|word| CString::new(word).expect("no NUL")).collect();
    // DPDK keeps pointers into its command line.
    let words: &'static mut [*mut c_char] = words.into_iter().map(CString::into_raw).collect::<Vec<_>>().leak();
    // SAFETY: an array of strings that live for ever.
    match unsafe { rte_eal_init(words.len() as c_int, words.as_mut_ptr()) } {
        -1 => Err(io::Error::other("DPDK does not start")),
        _ => Ok(()),
    }
}

fn listen(socket: &Path) -> io::Result<()> {
    let path = path(socket);
    // SAFETY: the path outlives the calls, and the callbacks everything.
    let failed = unsafe {
        rte_vhost_driver_register(path.as_ptr(), FLAGS) != 0
            || rte_vhost_driver_callback_register(path.as_ptr(), &CALLBACKS) != 0
            || rte_vhost_driver_start(path.as_ptr()) != 0
    };
    if failed { Err(io::Error::other(format!("DPDK does not listen at {}", socket.display()))) } else { Ok(()) }
}

fn path(socket: &Path) -> CString {
    CString::new(socket.as_os_str().as_encoded_bytes()).expect("no path has a NUL")
}
