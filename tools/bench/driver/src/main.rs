//! Plays two guests in front of a vhost-user back end and measures what passes from the first to the second. It is light:
//! rings and frames are made beforehand, so the back end is the limit, not the driver.

mod arguments;
mod crowd;
#[cfg(feature = "dpdk")]
mod dpdk;
mod frame;
mod guest;
mod memory;
mod ours;
mod packed;
mod report;
mod ring;
mod split;
mod steady;
mod traffic;

use std::io;
use std::process::ExitCode;

use arguments::{Arguments, Verb};
use guest::Pair;
use packed::Packed;
use report::Report;
use ring::Ring;
use split::Split;

fn main() -> ExitCode {
    let arguments = match arguments::parse() {
        Ok(arguments) => arguments,
        Err(mistake) => {
            eprintln!("softdpu-bench-driver: {mistake}");
            return ExitCode::from(2);
        }
    };
    let report = if arguments.packed { measure::<Packed>(&arguments) } else { measure::<Split>(&arguments) };
    match report {
        Ok(report) => {
            println!("{}", serde_json::to_string(&report).expect("numbers can always be written"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("softdpu-bench-driver: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure<R: Ring>(arguments: &Arguments) -> io::Result<Report> {
    match arguments.verb {
        Verb::Memcpy => traffic::memcpy(arguments),
        Verb::Throughput => traffic::throughput(&mut Pair::<R>::connect(arguments)?, arguments),
        Verb::Latency => traffic::latency(&mut Pair::<R>::connect(arguments)?, arguments),
        Verb::Ours => ours::measure::<R>(arguments),
        Verb::Waits => ours::waits::<R>(arguments),
        #[cfg(feature = "dpdk")]
        Verb::Dpdk => dpdk::measure::<R>(arguments),
        #[cfg(not(feature = "dpdk"))]
        Verb::Dpdk => Err(io::Error::other("built without DPDK: cargo build --release --features dpdk")),
    }
}
