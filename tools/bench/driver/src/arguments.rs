//! The command line.

use std::path::PathBuf;

use pico_args::Arguments as Words;

const USAGE: &str = "usage: softdpu-bench-driver VERB [options] SOCKET SOCKET

  throughput          frames a second from the first guest to the second
  latency             with one frame in flight
  memcpy              what copying the same frames from ring to ring takes (no sockets)
  ours                our engine and the driver in one thread (no sockets)
  waits               our engine, with one frame in flight, and the driver in one thread (no sockets)
  dpdk                DPDK's vhost library and the driver in one thread (no sockets)

  --packed            packed virtqueues; split ones otherwise
  --ring N            descriptors a queue (1024)
  --burst N           frames offered at once (32)
  --octets N          of a frame, without header and FCS (64); above 1518: TCP segments to be cut
  --touch             write 8 bytes of each frame sent, read 10 of each received
  --no-mergeable      do not negotiate VIRTIO_NET_F_MRG_RXBUF
  --core N            run on this core
  --also TID,TID      threads of the back end: real-time during windows, and watched
  --fifo              real-time scheduling during windows
  --windows N         how many (5)
  --milliseconds N    of each (100)
  --small-pages       guest memory of ordinary pages
  --members N         for ours, waits: other guests on the switch (0)
  --stations N        for ours, waits: addresses that those send from first (0)
  --flood             for waits: one of those broadcasts all the time
  --huge-dir PATH     for dpdk: a hugetlbfs
";

#[derive(Clone, Copy)]
pub enum Verb {
    Throughput,
    Latency,
    Memcpy,
    Ours,
    Waits,
    Dpdk,
}

pub struct Arguments {
    pub verb: Verb,
    pub packed: bool,
    pub ring: u16,
    pub burst: u16,
    pub octets: usize,
    pub touch: bool,
    pub mergeable: bool,
    pub core: Option<usize>,
    pub also: Vec<i32>,
    pub fifo: bool,
    pub windows: usize,
    pub milliseconds: u64,
    pub small_pages: bool,
    pub members: usize,
    pub stations: usize,
    pub flood: bool,
    #[cfg_attr(not(feature = "dpdk"), allow(dead_code))]
    pub huge_dir: Option<String>,
    pub sockets: Vec<PathBuf>,
}

/// The error is a sentence.
pub fn parse() -> Result<Arguments, String> {
    read(Words::from_env()).map_err(|mistake| format!("{mistake}\n{USAGE}"))
}

fn read(mut words: Words) -> Result<Arguments, String> {
    let verb = verb(&words.subcommand().map_err(told)?.unwrap_or_default())?;
    let mut arguments = Arguments {
        verb,
        packed: words.contains("--packed"),
        ring: number(&mut words, "--ring", 1024)?,
        burst: number(&mut words, "--burst", 32)?,
        octets: number(&mut words, "--octets", 64)?,
        touch: words.contains("--touch"),
        mergeable: !words.contains("--no-mergeable"),
        core: words.opt_value_from_str("--core").map_err(told)?,
        also: words.opt_value_from_fn("--also", threads).map_err(told)?.unwrap_or_default(),
        fifo: words.contains("--fifo"),
        windows: number(&mut words, "--windows", 5)?,
        milliseconds: number(&mut words, "--milliseconds", 100)?,
        small_pages: words.contains("--small-pages"),
        members: number(&mut words, "--members", 0)?,
        stations: number(&mut words, "--stations", 0)?,
        flood: words.contains("--flood"),
        huge_dir: words.opt_value_from_str("--huge-dir").map_err(told)?,
        sockets: Vec::new(),
    };
    arguments.sockets = words.finish().into_iter().map(PathBuf::from).collect();
    check(arguments)
}

fn check(arguments: Arguments) -> Result<Arguments, String> {
    let wanted = if matches!(arguments.verb, Verb::Throughput | Verb::Latency) { 2 } else { 0 };
    if arguments.sockets.len() != wanted {
        return Err(format!("{wanted} sockets are wanted, not {:?}", arguments.sockets));
    }
    if !arguments.ring.is_power_of_two() || arguments.burst == 0 || arguments.burst > arguments.ring {
        return Err("a ring is a power of two, and a burst fits into it".into());
    }
    if !(60..=65549).contains(&arguments.octets) {
        return Err("a frame has 60 to 65549 bytes".into());
    }
    Ok(arguments)
}

fn verb(word: &str) -> Result<Verb, String> {
    Ok(match word {
        "throughput" => Verb::Throughput,
        "latency" => Verb::Latency,
        "memcpy" => Verb::Memcpy,
        "ours" => Verb::Ours,
        "waits" => Verb::Waits,
        "dpdk" => Verb::Dpdk,
        _ => return Err(format!("{word:?} is not a verb")),
    })
}

fn number<N: std::str::FromStr<Err = std::num::ParseIntError>>(
    words: &mut Words,
    option: &'static str,
    usual: N,
) -> Result<N, String> {
    Ok(words.opt_value_from_str(option).map_err(told)?.unwrap_or(usual))
}

fn threads(words: &str) -> Result<Vec<i32>, std::num::ParseIntError> {
    words.split(',').map(str::parse).collect()
}

fn told(error: pico_args::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        read(Words::from_vec(line.split(' ').map(Into::into).collect()))
    }

    #[test]
    fn a_mistake_is_a_sentence() {
        for (line, sentence) in [
            ("fly", "\"fly\" is not a verb"),
            ("latency a", "2 sockets are wanted"),
            ("memcpy --ring 1000", "a ring is a power of two"),
            ("memcpy --octets 90000", "a frame has 60 to 65549 bytes"),
        ] {
            assert!(parsed(line).err().unwrap().contains(sentence), "{line}");
        }
    }

    #[test]
    fn options_come_in_any_order() {
        let arguments = parsed("throughput a --also 4,5 b --packed").unwrap();
        assert_eq!(arguments.also, [4, 5]);
        assert!(arguments.packed && arguments.sockets.len() == 2);
    }
}
