//! Closes taps and sockets on a thread of its own: the kernel takes up to 20 ms for each, which no queue should wait for.

use std::io;
use std::sync::mpsc::{Sender, channel, sync_channel};

pub struct Closer(Sender<Box<dyn Send>>);

impl Closer {
    /// Returns when the thread runs: one that starts makes system calls that the sandbox does not allow.
    pub fn spawn() -> io::Result<Closer> {
        let (sender, receiver) = channel::<Box<dyn Send>>();
        let (ready, started) = sync_channel(1);
        std::thread::Builder::new().name("closer".into()).spawn(move || {
            let _ = ready.send(());
            receiver.into_iter().for_each(drop);
        })?;
        let _ = started.recv();
        Ok(Closer(sender))
    }

    /// Closes it soon. Who waits for that sees the interface go.
    pub fn close(&self, held: impl Send + 'static) {
        // Were the thread gone, it would come back and be closed here.
        let _ = self.0.send(Box::new(held));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_handed_over_is_closed() {
        let closer = Closer::spawn().unwrap();
        let (near, far) = rustix::pipe::pipe().unwrap();
        closer.close(far);
        let patience = Instant::now() + Duration::from_secs(5);
        rustix::io::ioctl_fionbio(&near, true).unwrap();
        while rustix::io::read(&near, &mut [0; 1]) != Ok(0) {
            assert!(Instant::now() < patience, "the other end is still open");
            std::thread::yield_now();
        }
    }
}
