//! The process of softdpu that faces guests: it serves VMMs over vfio-user and moves packets between rings and taps. What
//! a device *is* it does not know; the controller does, at the other end of the control socket.

use std::io::{self, Write};
use std::process::ExitCode;

use softdpu_datapath::arguments::{self, Arguments, Wish};
use softdpu_datapath::{control, counters, journal, pump, sandbox, slice, worker};

fn main() -> ExitCode {
    let wish = arguments::parse(std::env::args().skip(1));
    let done = match wish {
        Ok(Wish::Serve(arguments)) => serve(arguments),
        Ok(Wish::EchoMessages) => control::echo::run(),
        Ok(Wish::Print(text)) => io::stdout().write_all(text.as_bytes()),
        Err(mistake) => {
            eprintln!("softdpu-datapath: {mistake}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("softdpu-datapath: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> io::Result<()> {
    journal::start(arguments.log_level);
    if let Err(error) = raise_descriptor_limit() {
        log::warn!("the limit on open descriptors stays as it is: {error}");
    }
    if let Err(error) = slice::ask_for_a_short_one() {
        log::info!("threads are woken as late as any others: {error}");
    }
    let counters = counters::Counters::for_workers(arguments.worker_cores.len())?;
    let control = control::Control::new(arguments.control)?;
    if arguments.sandbox {
        sandbox::drop_privileges()?;
    }
    let (worker, notices) = worker::spawn_on(&arguments.worker_cores, Some(&counters))?;
    let pump = pump::Pump::new(worker, notices, control, counters)?;
    if arguments.sandbox {
        sandbox::enter()?;
    }
    pump.run()
}

/// Five hundred functions with their eventfds are more than the usual 1024.
fn raise_descriptor_limit() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
