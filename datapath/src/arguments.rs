//! The command line.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::worker::MOST_WORKERS;
use log::LevelFilter;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

const USAGE: &str = "usage: softdpu-datapath --control-fd N [--log-level LEVEL] [--worker-cores LIST] [--no-sandbox]

  --control-fd N     a listening SOCK_SEQPACKET unix socket, inherited: where the controller connects
  --log-level LEVEL  error, warn, info (the default), debug or trace
  --worker-cores LIST
                     a worker thread for each of these cores, such as 2,3,5; without it one, wherever the kernel puts it
  --no-sandbox       keep privileges and all system calls, for debugging only
";

#[derive(Debug)]
pub enum Wish {
    Serve(Arguments),
    Print(String),
    /// For tests: decodes each message on stdin and encodes it again to stdout.
    EchoMessages,
}

#[derive(Debug)]
pub struct Arguments {
    pub control: OwnedFd,
    pub log_level: LevelFilter,
    pub worker_cores: Vec<usize>,
    pub sandbox: bool,
}

/// The error is a sentence.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Wish, String> {
    let (mut control, mut log_level, mut worker_cores, mut sandbox) = (None, LevelFilter::Info, Vec::new(), true);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--control-fd" => control = Some(descriptor(&value(&word, &mut words)?)?),
            "--log-level" => log_level = level(&value(&word, &mut words)?)?,
            "--worker-cores" => worker_cores = cores(&value(&word, &mut words)?)?,
            "--no-sandbox" => sandbox = false,
            "--echo-messages" => return Ok(Wish::EchoMessages),
            "--help" | "-h" => return Ok(Wish::Print(USAGE.into())),
            "--version" | "-V" => return Ok(Wish::Print(format!("softdpu-datapath {}\n", env!("CARGO_PKG_VERSION")))),
            _ => return Err(format!("{word} is not an option\n{USAGE}")),
        }
    }
    let control = control.ok_or_else(|| format!("--control-fd is missing\n{USAGE}"))?;
    Ok(Wish::Serve(Arguments { control, log_level, worker_cores, sandbox }))
}

fn value(option: &str, words: &mut impl Iterator<Item = String>) -> Result<String, String> {
    words.next().ok_or_else(|| format!("{option} wants a value\n{USAGE}"))
}

fn level(word: &str) -> Result<LevelFilter, String> {
    word.parse().map_err(|_| format!("{word} is not a log level\n{USAGE}"))
}

fn cores(list: &str) -> Result<Vec<usize>, String> {
    let mistake = || format!("{list} is not a list of up to {MOST_WORKERS} different cores\n{USAGE}");
    let cores: Vec<usize> =
        list.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_: std::num::ParseIntError| mistake())?;
    let once = cores.iter().enumerate().all(|(place, core)| !cores[..place].contains(core));
    if once && cores.len() <= MOST_WORKERS { Ok(cores) } else { Err(mistake()) }
}

fn descriptor(word: &str) -> Result<OwnedFd, String> {
    let mistake = || format!("{word} is not an open file descriptor\n{USAGE}");
    let fd: RawFd = word.parse().ok().filter(|fd| *fd > 2).ok_or_else(mistake)?;
    // SAFETY: only used to ask whether it is open, and if so, to close it on exec.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl_getfd(borrowed).and_then(|flags| fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)).map_err(|_| mistake())?;
    // SAFETY: it is open, was inherited for this purpose, and this process has opened nothing yet that could be it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Wish, String> {
        parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn a_mistake_is_a_sentence() {
        for (words, sentence) in [
            (&["--control-fd", "9999"][..], "9999 is not an open file descriptor"),
            (&["--control-fd", "1"], "1 is not an open file descriptor"),
            (&["--control-fd"], "--control-fd wants a value"),
            (&["--log-level", "loud"], "loud is not a log level"),
            (&["--worker-cores", "1-2"], "1-2 is not a list of up to 64 different cores"),
            (&["--worker-cores", "1,1"], "1,1 is not a list of up to 64 different cores"),
            (&["--worker-cores", ""], " is not a list of up to 64 different cores"),
            (&["--speed"], "--speed is not an option"),
            (&[], "--control-fd is missing"),
        ] {
            assert!(parsed(words).unwrap_err().starts_with(sentence), "{words:?}");
        }
    }
}
