//! A whole datapath in this process: pump and worker in their threads, a controller that answers everything, and the
//! sockets of the functions. Started by the first target that wants it, and kept.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType};
use softdpu_datapath::control::messages::{
    Answer, AnyDescription, BackEnd, Create, Description, Doorbell, FromController, FromDatapath, MigrateVerb, Region,
    Window,
};
use softdpu_datapath::control::{Control, socket};
use softdpu_datapath::counters::Counters;
use softdpu_datapath::pump::Pump;
use softdpu_datapath::worker;

/// Longest that anything may take; whoever waits that long has found a stall.
const PATIENCE: Duration = Duration::from_secs(10);

/// More descriptors than this process has any reason to have open at the end of an input.
const DESCRIPTORS: usize = 200;

/// What is served: one function of each kind for the input, and one that nobody wrongs.
#[derive(Clone, Copy)]
pub enum Function {
    VfioUser,
    VhostUser,
    Neighbour,
}

struct Process {
    functions: [SocketAddr; 3],
}

static PROCESS: OnceLock<Process> = OnceLock::new();

/// A connection to a function.
pub struct Peer {
    pub socket: UnixStream,
    /// The device has hung up.
    pub gone: bool,
}

fn process() -> &'static Process {
    PROCESS.get_or_init(|| {
        let control = SocketAddrUnix::new_abstract_name(name("control").as_bytes()).unwrap();
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::bind(&listener, &control).unwrap();
        rustix::net::listen(&listener, 4).unwrap();
        std::thread::spawn(move || {
            let (worker, notices) = worker::spawn().unwrap();
            let control = Control::new(listener).unwrap();
            Pump::new(worker, notices, control, Counters::new().unwrap()).unwrap().run()
        });
        let controller = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::connect(&controller, &control).unwrap();
        let descriptions = [vfio_user(), vhost_user(), vfio_user()];
        let functions = [0, 1, 2].map(|number| create(&controller, number, descriptions[number as usize].clone()));
        std::thread::spawn(move || answer_all(&controller));
        Process { functions }
    })
}

fn name(what: &str) -> String {
    format!("softdpu-fuzz-{}-{what}", std::process::id())
}

fn vfio_user() -> AnyDescription {
    let regions = [(0, 64), (2, 16384), (7, 4096)].map(|(index, size)| Region { index, size }).to_vec();
    let doorbells = vec![
        Doorbell { region: 0, offset: 16, size: 2, stride: 0 },
        Doorbell { region: 2, offset: 0x3000, size: 0x100, stride: 4 },
    ];
    let isr = vec![Window { region: 0, offset: 19, size: 1 }, Window { region: 2, offset: 0x1000, size: 1 }];
    let pending = Some(Window { region: 2, offset: 0x2800, size: 8 });
    AnyDescription::Description(Description { regions, vectors: 4, doorbells, isr, pending, without_intx: false })
}

fn vhost_user() -> AnyDescription {
    AnyDescription::BackEnd(BackEnd {
        features: 1 << 15 | 1 << 22 | 1 << 28 | 1 << 29 | 1 << 32 | 1 << 34 | 1 << 35,
        protocol_features: u64::MAX,
        config: vec![7; 20].into(),
        queues: 4,
        queue_size: 1024,
        client: false,
    })
}

fn create(controller: &OwnedFd, function: u64, description: AnyDescription) -> SocketAddr {
    let address = SocketAddr::from_abstract_name(name(&function.to_string())).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let (state, effects) = (Vec::new().into(), Vec::new());
    let create = Create { ticket: function, function, description, representor: false, records: false, state, effects };
    let bytes = rmp_serde::to_vec_named(&FromController::Create(create)).unwrap();
    socket::send(controller, &bytes, Some(listener.as_fd())).unwrap();
    address
}

/// Registers read as zeros, and every event is taken note of.
fn answer_all(controller: &OwnedFd) {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let (count, _) = rustix::net::recv(controller, &mut buffer[..], rustix::net::RecvFlags::empty()).unwrap();
        assert!(count > 0, "the datapath has ended");
        let (function, request, size) = match rmp_serde::from_slice(&buffer[..count]).expect("a message") {
            FromDatapath::Access(access) => {
                (access.function, access.request, if access.write { 0 } else { access.size })
            }
            FromDatapath::Event(event) => (event.function, event.request, 0),
            FromDatapath::Migrate(migrate) => (migrate.function, migrate.request, told(migrate.verb, migrate.size)),
            FromDatapath::Command(command) => (command.function, command.request, 1),
            FromDatapath::Done(done) => {
                assert_eq!(done.errno, 0, "{}", done.reason);
                continue;
            }
            _ => continue,
        };
        let data = vec![0; size as usize].into();
        let answer = Answer { function, request, errno: 0, data, state: None, effects: Vec::new() };
        rustix::net::send(
            controller,
            &rmp_serde::to_vec_named(&FromController::Answer(answer)).unwrap(),
            SendFlags::empty(),
        )
        .unwrap();
    }
}

/// Bytes of the answer to what a VMM asks that moves its device.
fn told(verb: MigrateVerb, size: u64) -> u64 {
    match verb {
        MigrateVerb::GetState => 4,
        MigrateVerb::DataSize => 8,
        MigrateVerb::Read => size / 2,
        MigrateVerb::SetState | MigrateVerb::Write => 0,
    }
}

impl Peer {
    pub fn connect(function: Function) -> Peer {
        let socket = UnixStream::connect_addr(&process().functions[function as usize]).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer { socket, gone: false }
    }

    pub fn send(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let pieces = [std::io::IoSlice::new(bytes)];
        match rustix::net::sendmsg(&self.socket, &pieces, &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) => self.gone |= self.socket.write_all(&bytes[sent..]).is_err(),
            Err(_) => self.gone = true,
        }
    }

    /// Exactly that many bytes, or None when the device has hung up. Panics when it says nothing for too long.
    pub fn receive(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        match self.socket.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer came"),
            Err(_) => {
                self.gone = true;
                None
            }
        }
    }

    /// Reads and drops what has come so far.
    pub fn drain(&mut self) {
        let mut bytes = [0; 65536];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        while let Ok((count, _)) = rustix::net::recv(&self.socket, &mut bytes, flags) {
            if count == 0 {
                self.gone = true;
                return;
            }
        }
    }
}

/// The neighbour is served as ever; when this returns, the datapath has dealt with all that came before.
pub fn neighbour_is_well() {
    let mut peer = Peer::connect(Function::Neighbour);
    let version = [&[1, 0, 1, 0, 20, 0, 0, 0][..], &[0; 8], &[0, 0, 1, 0]].concat();
    let info = [&[2, 0, 4, 0, 32, 0, 0, 0][..], &[0; 8], &[16, 0, 0, 0], &[0; 12]].concat();
    for message in [version, info] {
        peer.send(&message, &[]);
        let head = peer.receive(16).expect("the neighbour is answered");
        let len = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        assert_eq!(head[8], 1, "it is a reply, and no refusal");
        peer.receive(len - 16).expect("the rest of the answer");
    }
    assert!(open_descriptors() < DESCRIPTORS, "descriptors are left open");
}

/// A descriptor of a kind that a message may bring, rightly or not.
pub fn descriptor(kind: u8) -> OwnedFd {
    use rustix::fs::MemfdFlags;
    match kind % 5 {
        0 | 1 => {
            let fd = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap();
            rustix::fs::ftruncate(&fd, 0x4_0000).unwrap();
            fd
        }
        2 => rustix::pipe::pipe().unwrap().0,
        3 => UnixStream::pair().unwrap().0.into(),
        _ => rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap(),
    }
}

/// Descriptors that this process has open.
fn open_descriptors() -> usize {
    let folder = std::fs::File::open("/proc/self/fd").unwrap();
    std::fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd())).unwrap().count()
}
