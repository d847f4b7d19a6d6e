//! The simulation, as a sequence of events.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use super::Verb;

/// The defaults of `Offload` and `PostgresStore`.
pub(crate) const MAX_BATCH: usize = 256;
const CONNECTIONS: usize = 8;

const SESSIONS: usize = 100_000;

#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) verb: &'static Verb,
    pub(crate) programs: usize,
    /// Of each program.
    pub(crate) callers: usize,
    pub(crate) servers: usize,
    /// Of each machine. Each program and each server has one, unless all are on the same.
    pub(crate) processors: usize,
    pub(crate) is_one_machine: bool,
    pub(crate) round_trip: f64,
    /// How long a disk takes for a commit.
    pub(crate) flush: f64,
    /// Whether a tenth of the sessions gets four fifths of the calls.
    pub(crate) is_zipf: bool,
}

pub(crate) struct Outcome {
    pub(crate) rate: f64,
    pub(crate) batch: f64,
    pub(crate) programs_busy: f64,
    pub(crate) servers_busy: f64,
    /// The part of the busiest server.
    pub(crate) busiest: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

struct Batch {
    program: usize,
    server: usize,
    /// When the calls have begun.
    calls: Vec<f64>,
    part: f64,
}

/// What a processor does.
enum Work {
    Take { program: usize, server: usize },
    Send(Batch),
    Execute(Batch),
    Receive(Batch),
}

enum Event {
    Computed(usize, Work),
    Arrived(Batch),
    Flushed(usize),
    Answered(Batch),
}

#[derive(Default)]
struct Machine {
    busy: usize,
    waiting: VecDeque<Work>,
    used: f64,
}

/// The calls of a program for a server.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<f64>,
    executing: usize,
    /// Whether a worker is about to take calls.
    is_woken: bool,
    /// The part of the processors that the facade takes the executing batches to use: see `src/offload/load.rs`.
    used: f64,
}

#[derive(Default)]
struct Disk {
    flushing: Vec<Batch>,
    waiting: Vec<Batch>,
}

pub(crate) struct Simulation {
    setup: Setup,
    now: f64,
    begin: f64,
    /// By nanosecond and number.
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    machines: Vec<Machine>,
    queues: Vec<Queue>,
    disks: Vec<Disk>,
    random: u64,
    sessions: Vec<f64>,
    latencies: Vec<f64>,
    batches: usize,
}

impl Simulation {
    pub(crate) fn run(setup: Setup, micros: f64) -> Outcome {
        let new = |count: usize| (0..count).map(|_| Default::default());
        let weights = (1..=SESSIONS).scan(0.0, |sum, rank| {
            *sum += if setup.is_zipf {
                (rank as f64).powf(-0.99)
            } else {
                1.0
            };
            Some(*sum)
        });
        let mut simulation = Simulation {
            setup,
            now: 0.0,
            begin: micros / 3.0,
            events: BTreeMap::new(),
            number: 0,
            machines: new(setup.programs + setup.servers).collect(),
            queues: (0..setup.programs * setup.servers)
                .map(|_| Queue::default())
                .collect(),
            disks: (0..setup.servers).map(|_| Disk::default()).collect(),
            random: 0,
            sessions: weights.collect(),
            latencies: Vec::new(),
            batches: 0,
        };
        for program in 0..setup.programs {
            (0..setup.callers).for_each(|_| simulation.call(program));
            simulation.begin_work(simulation.machine_of(program));
        }
        while let Some(((nanos, _), event)) = simulation.events.pop_first() {
            simulation.now = nanos as f64 / 1e3;
            if simulation.now > micros {
                break;
            }
            simulation.happen(event);
        }
        simulation.outcome(micros)
    }

    fn outcome(mut self, micros: f64) -> Outcome {
        self.latencies.sort_unstable_by(f64::total_cmp);
        let percentile = |percent| self.latencies[(self.latencies.len() - 1) * percent / 100];
        let length = micros - self.begin;
        let busy = |machines: &[Machine]| {
            let used: f64 = machines.iter().map(|machine| machine.used).sum();
            used / (length * (machines.len() * self.setup.processors) as f64)
        };
        let (programs, servers) = match self.setup.is_one_machine {
            true => (&self.machines[..1], &self.machines[..1]),
            false => self.machines.split_at(self.setup.programs),
        };
        let each = servers
            .iter()
            .map(|server| busy(std::slice::from_ref(server)));
        Outcome {
            rate: self.latencies.len() as f64 / length * 1e6,
            batch: self.latencies.len() as f64 / self.batches as f64,
            programs_busy: busy(programs),
            servers_busy: busy(servers),
            busiest: each.fold(0.0, f64::max),
            p50: percentile(50),
            p99: percentile(99),
        }
    }

    /// Returns a random number below 1 (SplitMix64).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.random) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn after(&mut self, micros: f64, event: Event) {
        self.number += 1;
        let nanos = ((self.now + micros) * 1e3).round() as u64;
        self.events.insert((nanos, self.number), event);
    }

    fn call(&mut self, program: usize) {
        let at = self.random() * self.sessions[SESSIONS - 1];
        let session = self.sessions.partition_point(|sum| *sum <= at);
        // The slot of a session is random.
        let server = (mix(session as u64 + 1) % self.setup.servers as u64) as usize;
        let queue = program * self.setup.servers + server;
        self.queues[queue].waiting.push_back(self.now);
        self.wake(program, server);
    }

    /// Wakes a worker if calls wait, and if none is about to take them.
    fn wake(&mut self, program: usize, server: usize) {
        let queue = &mut self.queues[program * self.setup.servers + server];
        let has_idle = queue.executing < CONNECTIONS && !queue.is_woken;
        if has_idle && !queue.waiting.is_empty() {
            queue.is_woken = true;
            let machine = self.machine_of(program);
            self.machines[machine]
                .waiting
                .push_back(Work::Take { program, server });
        }
    }

    fn machine_of(&self, place: usize) -> usize {
        if self.setup.is_one_machine { 0 } else { place }
    }

    fn work(&mut self, machine: usize, work: Work) {
        self.machines[machine].waiting.push_back(work);
        self.begin_work(machine);
    }

    fn begin_work(&mut self, machine: usize) {
        while self.machines[machine].busy < self.setup.processors {
            let Some(work) = self.machines[machine].waiting.pop_front() else {
                return;
            };
            let Setup { verb, .. } = self.setup;
            let (work, micros) = match work {
                Work::Take { program, server } => match self.take(program, server) {
                    Some(batch) => {
                        let micros = verb.program.of(batch.calls.len()) / 2.0;
                        (Work::Send(batch), micros)
                    }
                    None => continue,
                },
                Work::Receive(batch) => {
                    let micros = verb.program.of(batch.calls.len()) / 2.0;
                    (Work::Receive(batch), micros)
                }
                Work::Send(batch) | Work::Execute(batch) => {
                    let micros = verb.server.of(batch.calls.len());
                    (Work::Execute(batch), micros)
                }
            };
            let place = &mut self.machines[machine];
            place.busy += 1;
            if self.now >= self.begin {
                place.used += micros;
            }
            self.after(micros, Event::Computed(machine, work));
        }
    }

    /// An idle worker takes calls, if the facade has one and takes the processors to have room.
    fn take(&mut self, program: usize, server: usize) -> Option<Batch> {
        let Setup {
            verb,
            round_trip,
            processors,
            servers,
            ..
        } = self.setup;
        let queue = &mut self.queues[program * servers + server];
        queue.is_woken = false;
        let count = queue.waiting.len().min(MAX_BATCH);
        let by_calls = 8.0 * count.saturating_sub(1) as f64;
        let flush = if verb.is_write { self.setup.flush } else { 0.0 };
        let shortest = verb.program.of(1) + verb.server.of(1) + round_trip + flush;
        let part = ((150.0 + by_calls) / (shortest + by_calls)).min(1.0);
        let has_room = queue.used + part <= processors as f64;
        if count == 0 || queue.executing == CONNECTIONS || !has_room {
            return None;
        }
        queue.executing += 1;
        queue.used += part;
        let calls = queue.waiting.drain(..count).collect();
        self.wake(program, server);
        Some(Batch {
            program,
            server,
            calls,
            part,
        })
    }

    fn happen(&mut self, event: Event) {
        let Setup {
            round_trip,
            programs,
            servers,
            ..
        } = self.setup;
        match event {
            Event::Computed(machine, work) => {
                self.machines[machine].busy -= 1;
                match work {
                    Work::Take { .. } => {}
                    Work::Send(batch) => self.after(round_trip / 2.0, Event::Arrived(batch)),
                    Work::Execute(batch) if self.setup.verb.is_write => self.commit(batch),
                    Work::Execute(batch) => self.after(round_trip / 2.0, Event::Answered(batch)),
                    Work::Receive(batch) => {
                        let Batch {
                            program,
                            server,
                            calls,
                            part,
                        } = batch;
                        let queue = &mut self.queues[program * servers + server];
                        queue.executing -= 1;
                        queue.used -= part;
                        if self.now >= self.begin {
                            self.batches += 1;
                            self.latencies
                                .extend(calls.iter().map(|begun| self.now - begun));
                        }
                        self.wake(program, server);
                        calls.iter().for_each(|_| self.call(program));
                    }
                }
                self.begin_work(machine);
            }
            Event::Arrived(batch) => {
                self.work(
                    self.machine_of(programs + batch.server),
                    Work::Execute(batch),
                );
            }
            Event::Answered(batch) => {
                self.work(self.machine_of(batch.program), Work::Receive(batch));
            }
            Event::Flushed(server) => {
                for batch in mem::take(&mut self.disks[server].flushing) {
                    self.after(round_trip / 2.0, Event::Answered(batch));
                }
                self.flush(server);
            }
        }
    }

    fn commit(&mut self, batch: Batch) {
        let server = batch.server;
        self.disks[server].waiting.push(batch);
        if self.disks[server].flushing.is_empty() {
            self.flush(server);
        }
    }

    fn flush(&mut self, server: usize) {
        let disk = &mut self.disks[server];
        disk.flushing = mem::take(&mut disk.waiting);
        if !disk.flushing.is_empty() {
            self.after(self.setup.flush, Event::Flushed(server));
        }
    }
}

/// Spreads numbers evenly (SplitMix64).
fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
