//! A TCP proxy that delays both directions by half of a round trip. It is a process of its own, so that its
//! processor time can be told from that of the programs and servers.

mod check;
mod link;
mod process;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write, stdin, stdout},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU64,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
    process::setpriority_process,
    thread::set_current_timer_slack,
};

use self::link::{End, Link};
pub(crate) use self::{check::Accuracy, process::Proxy};
use crate::rtt::Rtt;

/// Runs the process of a proxy. It prints its ports, one for each target, and returns when stdin is closed.
pub(crate) fn serve(rtt: Rtt, targets: &[u16]) -> Result<()> {
    set_current_timer_slack(NonZeroU64::new(1)).context("cannot set the timer slack")?;
    // A network does not wait for a processor. Only root may do this; without it, delays are less exact if the
    // processors are busy.
    let _ = setpriority_process(None, -20);
    let mut relay = Relay::new(rtt, targets, stdin())?;
    let ports = relay.ports()?;
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    println!("{}", ports.join(" "));
    stdout().flush()?;
    relay.run()
}

/// The number of bytes that are read at once.
const READ: usize = 64 << 10;

/// The longest time that [`Relay::wake_up`] may be.
const LONGEST_WAKE_UP: Duration = Duration::from_micros(50);

/// A parcel is delivered if it is due within this time, because a shorter sleep would cost more time than that.
const SOON: Duration = Duration::from_micros(5);

/// The step by which [`Relay::wake_up`] becomes longer or shorter, so that it stays near the median.
const STEP: Duration = Duration::from_nanos(500);

/// Events with this number mean that the proxy has to end. Those with the following numbers are connections to the
/// listeners, and those after them are of [`Link`]s.
const STOP: u64 = 0;

/// Data on its way to one end of a link.
enum Parcel {
    Bytes(Vec<u8>),
    /// The end of the stream.
    End,
}

pub(super) struct Relay<S> {
    delay: Duration,
    epoll: OwnedFd,
    _stop: S,
    doors: Vec<(TcpListener, SocketAddr)>,
    links: HashMap<u64, Link>,
    next_link: u64,
    /// In the order of their times, because all have the same delay. With each parcel, the link and its end.
    parcels: VecDeque<(Instant, u64, usize, Parcel)>,
    /// How long it takes until this process runs after a time has come, or bytes have arrived. The
    /// proxy wakes up this much before a parcel is due, and takes bytes to have arrived this much before it sees them.
    wake_up: Duration,
    buffer: Vec<u8>,
}

impl<S: AsFd> Relay<S> {
    /// The relay runs until `stop` can be read or is closed.
    pub(super) fn new(rtt: Rtt, targets: &[u16], stop: S) -> Result<Relay<S>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let mut doors = Vec::new();
        for (&target, number) in targets.iter().zip(STOP + 1..) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            epoll::add(
                &epoll,
                &listener,
                EventData::new_u64(number),
                EventFlags::IN,
            )?;
            doors.push((listener, (Ipv4Addr::LOCALHOST, target).into()));
        }
        Ok(Relay {
            delay: rtt.length() / 2,
            epoll,
            _stop: stop,
            next_link: doors.len() as u64 + 1,
            doors,
            links: HashMap::new(),
            parcels: VecDeque::new(),
            wake_up: Duration::ZERO,
            buffer: vec![0; READ],
        })
    }

    pub(super) fn ports(&self) -> Result<Vec<u16>> {
        let ports = self.doors.iter();
        let ports = ports.map(|(listener, _)| Ok(listener.local_addr()?.port()));
        ports.collect()
    }

    pub(super) fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(64);
        loop {
            self.deliver();
            let arrived = self.wait(&mut events)?;
            self.deliver();
            for event in events.drain(..) {
                match event.data.u64() {
                    STOP => return Ok(()),
                    door if door <= self.doors.len() as u64 => self.accept(door)?,
                    end => {
                        let (link, end) = (end / 2, (end % 2) as usize);
                        self.work(link, |relay, found| {
                            relay.handle((link, found), end, event.flags, arrived)
                        });
                    }
                }
            }
        }
    }

    /// Waits for events, at most until shortly before the next parcel is due. Returns when the events came.
    fn wait(&mut self, events: &mut Vec<Event>) -> Result<Instant> {
        let start = Instant::now();
        let left = self
            .parcels
            .front()
            .map(|(due, ..)| due.saturating_duration_since(start + self.wake_up));
        let time = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        let free = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, free, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let end = Instant::now();
        if let (true, Some(left)) = (events.is_empty(), left) {
            let late = end.saturating_duration_since(start + left);
            self.wake_up = if late > self.wake_up {
                (self.wake_up + STEP).min(LONGEST_WAKE_UP)
            } else {
                self.wake_up.saturating_sub(STEP)
            };
        }
        Ok(start.max(end - self.wake_up))
    }

    /// Delivers the parcels that are due.
    fn deliver(&mut self) {
        while let Some(&(due, ..)) = self.parcels.front() {
            if due > Instant::now() + SOON {
                return;
            }
            if let Some((_, link, end, parcel)) = self.parcels.pop_front() {
                self.work(link, |relay, link| link.deliver(&relay.epoll, end, parcel));
            }
        }
    }

    fn accept(&mut self, door: u64) -> Result<()> {
        let (listener, target) = &self.doors[(door - STOP - 1) as usize];
        let client = match listener.accept() {
            Ok((client, _)) => client,
            // The client is gone already.
            Err(_) => return Ok(()),
        };
        // If the target does not accept connections, this closes that of the client.
        if let Ok(server) = TcpStream::connect(target) {
            let number = self.next_link;
            self.next_link += 1;
            let end = |socket, end| End::new(&self.epoll, socket, number * 2 + end);
            let link = Link::new([end(client, 0)?, end(server, 1)?]);
            self.links.insert(number, link);
        }
        Ok(())
    }

    /// Removes the link if it has ended or failed, which closes its sockets.
    fn work(&mut self, number: u64, work: impl FnOnce(&mut Self, &mut Link) -> io::Result<()>) {
        if let Some(mut link) = self.links.remove(&number)
            && work(self, &mut link).is_ok()
            && !link.has_ended()
        {
            self.links.insert(number, link);
        }
    }

    fn handle(
        &mut self,
        (number, link): (u64, &mut Link),
        end: usize,
        flags: EventFlags,
        arrived: Instant,
    ) -> io::Result<()> {
        if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            link.flush(&self.epoll, end)?;
        }
        if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP)
            && let Some(read) = link.read(&self.epoll, end, &mut self.buffer)?
        {
            let parcel = match &self.buffer[..read] {
                [] => Parcel::End,
                bytes => Parcel::Bytes(bytes.to_vec()),
            };
            let due = arrived + self.delay;
            self.parcels.push_back((due, number, 1 - end, parcel));
        }
        Ok(())
    }
}
