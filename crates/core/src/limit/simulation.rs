//! Which law is better: a store with a hidden capacity in virtual time, asked through the one and the other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::LimitOptions;
use super::control::{Answered, Control, Verdict};
use crate::random::Random;

/// What decides how many requests are sent at once.
trait Law {
    fn limit(&self) -> usize;
    fn answered(&mut self, answer: Answered);
}

struct Additive(Control, LimitOptions);

impl Law for Additive {
    fn limit(&self) -> usize {
        self.0.limit()
    }

    fn answered(&mut self, answer: Answered) {
        self.0.answered(&self.1, answer);
    }
}

/// Compares how long answers take now with how long they usually take, after the "gradient 2" limit of Netflix's
/// concurrency-limits; and falls on throttling as the other law does.
struct Gradient {
    limit: f64,
    usual: f64,
    last_cut: Duration,
    /// The times of the answers of this round, and how many there are.
    round: (f64, usize),
    options: LimitOptions,
}

impl Gradient {
    const TOLERANCE: f64 = 1.5;
    const SMOOTHING: f64 = 0.2;
    const WINDOW: f64 = 600.0;
}

impl Law for Gradient {
    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn answered(&mut self, answer: Answered) {
        match answer.verdict {
            Verdict::Served => {
                let took = (answer.now - answer.began).as_secs_f64();
                self.usual = match self.usual > 0.0 {
                    true => self.usual + (took - self.usual) * 2.0 / (Self::WINDOW + 1.0),
                    false => took,
                };
                if self.usual > 2.0 * took {
                    self.usual *= 0.95;
                }
                if self.last_cut.is_zero() && took < Self::TOLERANCE * self.usual {
                    self.limit = (self.limit + 1.0).min(self.options.most as f64);
                    return;
                }
                self.round = (self.round.0 + took, self.round.1 + 1);
                if answer.in_flight * 2 < self.limit() || self.round.1 < self.limit().max(10) {
                    return;
                }
                let now = self.round.0 / self.round.1 as f64;
                self.round = (0.0, 0);
                let gradient = (Self::TOLERANCE * self.usual / now).clamp(0.5, 1.0);
                let next = self.limit * gradient + self.limit.sqrt();
                self.limit = self.limit * (1.0 - Self::SMOOTHING) + next * Self::SMOOTHING;
            }
            Verdict::Throttled if answer.began >= self.last_cut => {
                self.limit *= 0.7;
                self.last_cut = answer.now;
            }
            Verdict::Throttled | Verdict::Unknown => {}
        }
        self.limit = self.limit.clamp(self.options.least as f64, self.options.most as f64);
    }
}

/// No law at all: as many as callers want.
struct Unlimited;

impl Law for Unlimited {
    fn limit(&self) -> usize {
        usize::MAX
    }

    fn answered(&mut self, _: Answered) {}
}

/// What is hidden from the law. Times in microseconds.
#[derive(Debug, Clone, Copy)]
struct Hidden {
    /// The way there and back.
    way: u64,
    /// How long it works on a request: half to one and a half of this.
    work: u64,
    /// So many at once; the others queue.
    servers: usize,
    /// So many queue; the others are throttled.
    queue: usize,
    /// So many a second, with a tenth of it saved up; the others are throttled.
    rate: f64,
    /// From then to then a quarter of its servers work.
    ill: (u64, u64),
}

const FOREVER: f64 = 1e12;
const SECOND: u64 = 1_000_000;

struct Scenario {
    name: &'static str,
    hidden: Hidden,
    /// Callers that each ask again as soon as they have an answer.
    callers: usize,
    seconds: u64,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "near, capacity",
        hidden: Hidden {
            way: 500,
            work: 2000,
            servers: 16,
            queue: 64,
            rate: FOREVER,
            ill: (0, 0),
        },
        callers: 256,
        seconds: 20,
    },
    Scenario {
        name: "far, capacity",
        hidden: Hidden {
            way: 40_000,
            work: 5000,
            servers: 16,
            queue: 32,
            rate: FOREVER,
            ill: (0, 0),
        },
        callers: 256,
        seconds: 20,
    },
    Scenario {
        name: "rate of 1,000",
        hidden: Hidden {
            way: 20_000,
            work: 5000,
            servers: 1000,
            queue: 0,
            rate: 1000.0,
            ill: (0, 0),
        },
        callers: 256,
        seconds: 20,
    },
    Scenario {
        name: "rate of 100",
        hidden: Hidden {
            way: 10_000,
            work: 5000,
            servers: 1000,
            queue: 0,
            rate: 100.0,
            ill: (0, 0),
        },
        callers: 64,
        seconds: 20,
    },
    Scenario {
        name: "ill for a while",
        hidden: Hidden {
            way: 5000,
            work: 5000,
            servers: 64,
            queue: 32,
            rate: FOREVER,
            ill: (7 * SECOND, 14 * SECOND),
        },
        callers: 256,
        seconds: 20,
    },
    Scenario {
        name: "the first second",
        hidden: Hidden {
            way: 40_000,
            work: 5000,
            servers: 64,
            queue: 256,
            rate: FOREVER,
            ill: (0, 0),
        },
        callers: 256,
        seconds: 1,
    },
];

#[derive(Debug, Default)]
struct Outcome {
    served: u64,
    throttled: u64,
    /// How long the store took for what it served.
    times: Vec<u64>,
}

impl Outcome {
    fn share_throttled(&self) -> f64 {
        self.throttled as f64 / (self.served + self.throttled).max(1) as f64
    }

    fn p99(&self) -> u64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        times[times.len() * 99 / 100]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A caller wants something.
    Wants,
    /// A request that was sent then reaches the store.
    Arrives { began: u64 },
    /// The store has worked on it.
    Worked { began: u64 },
    /// Its answer is back.
    Answered { began: u64, served: bool },
}

fn simulate(scenario: &Scenario, law: &mut dyn Law, seed: u64) -> Outcome {
    let Hidden {
        way,
        work,
        servers,
        queue,
        rate,
        ill,
    } = scenario.hidden;
    let random = Random::seeded(seed);
    let mut events = BinaryHeap::new();
    let mut number = 0_u64;
    let mut at = |events: &mut BinaryHeap<_>, time: u64, event: Event| {
        number += 1;
        events.push(Reverse((time, number, event)));
    };
    for _ in 0..scenario.callers {
        at(&mut events, 0, Event::Wants);
    }
    let (mut waiting, mut in_flight) = (0, 0);
    let (mut working, mut queued) = (0, VecDeque::new());
    let (mut tokens, mut filled) = (rate / 10.0, 0);
    let mut outcome = Outcome::default();
    while let Some(Reverse((now, _, event))) = events.pop() {
        if now > scenario.seconds * SECOND {
            break;
        }
        let now_servers = if (ill.0..ill.1).contains(&now) { servers / 4 } else { servers };
        match event {
            Event::Wants => waiting += 1,
            Event::Arrives { began } => {
                tokens = (tokens + rate * (now - filled) as f64 / SECOND as f64).min(rate / 10.0);
                filled = now;
                let is_full = working >= now_servers && queued.len() >= queue;
                if is_full || tokens < 1.0 {
                    at(&mut events, now + way / 2, Event::Answered { began, served: false });
                } else {
                    tokens -= 1.0;
                    queued.push_back(began);
                }
            }
            Event::Worked { began } => {
                working -= 1;
                at(&mut events, now + way / 2, Event::Answered { began, served: true });
            }
            Event::Answered { began, served } => {
                law.answered(Answered {
                    began: Duration::from_micros(began),
                    now: Duration::from_micros(now),
                    in_flight,
                    verdict: if served { Verdict::Served } else { Verdict::Throttled },
                });
                in_flight -= 1;
                if served {
                    outcome.served += 1;
                    outcome.times.push(now - began);
                    waiting += 1;
                } else {
                    outcome.throttled += 1;
                    // As the retry layer does: full jitter.
                    at(&mut events, now + random.next() % 100_000, Event::Wants);
                }
            }
        }
        while working < now_servers
            && let Some(began) = queued.pop_front()
        {
            working += 1;
            at(&mut events, now + work / 2 + random.next() % work, Event::Worked { began });
        }
        while waiting > 0 && in_flight < law.limit() {
            waiting -= 1;
            in_flight += 1;
            at(&mut events, now + way / 2, Event::Arrives { began: now });
        }
    }
    outcome
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Additive,
    Gradient,
    Unlimited,
}

fn run(kind: Kind, scenario: &Scenario) -> Outcome {
    let options = LimitOptions::default();
    match kind {
        Kind::Additive => simulate(scenario, &mut Additive(Control::new(&options), options), 1),
        Kind::Gradient => {
            let mut law = Gradient {
                limit: options.first as f64,
                usual: 0.0,
                last_cut: Duration::ZERO,
                round: (0.0, 0),
                options,
            };
            simulate(scenario, &mut law, 1)
        }
        Kind::Unlimited => simulate(scenario, &mut Unlimited, 1),
    }
}

/// The numbers of the table in the layer's documentation: run it with `--no-capture` to see them.
#[test]
fn the_law_that_was_kept_serves_as_much_as_the_other_and_is_hardly_throttled() {
    for scenario in &SCENARIOS {
        let [kept, other, none] = [Kind::Additive, Kind::Gradient, Kind::Unlimited].map(|kind| run(kind, scenario));
        for (kind, outcome) in [(Kind::Additive, &kept), (Kind::Gradient, &other), (Kind::Unlimited, &none)] {
            println!(
                "{:20} {:10} {:6} served a second, {:5.2} % throttled, p99 {:6} us",
                scenario.name,
                format!("{kind:?}"),
                outcome.served / scenario.seconds,
                outcome.share_throttled() * 100.0,
                outcome.p99()
            );
        }
        let name = scenario.name;
        assert!(kept.served * 1000 >= other.served * 999, "{name}");
        assert!(kept.served * 100 >= none.served * 86, "{name}");
        assert!(kept.share_throttled() < 0.12, "{name}");
        assert!(
            kept.share_throttled() < none.share_throttled() / 7.0 || none.throttled == 0,
            "{name}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let [one, other] = [(); 2].map(|()| run(Kind::Additive, &SCENARIOS[5]));
    assert_eq!((one.served, one.times), (other.served, other.times));
}
