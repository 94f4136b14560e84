use proptest::prelude::*;

use super::*;

const OPTIONS: BreakerOptions = BreakerOptions {
    failures: 3,
    share: 0.5,
    window: 6,
    first_open: Duration::from_millis(100),
    longest_open: Duration::from_millis(1000),
};

const ILL: Verdict = Verdict::Ill(ErrorKind::Unavailable, None);

fn at(milliseconds: u64) -> Moment {
    let now = Duration::from_millis(milliseconds);
    Moment {
        now,
        day: SystemTime::UNIX_EPOCH + now,
    }
}

fn breaker() -> Breaker {
    Breaker::new(OPTIONS, SystemTime::UNIX_EPOCH)
}

/// One call from its beginning to its end.
fn call(breaker: &Breaker, milliseconds: u64, verdict: Verdict) -> Option<Change> {
    let (permit, _) = breaker.admit(at(milliseconds));
    permit
        .unwrap()
        .settle(verdict, at(milliseconds), &Random::seeded(milliseconds))
}

fn refusal(breaker: &Breaker, milliseconds: u64) -> Option<Refusal> {
    breaker.admit(at(milliseconds)).0.err()
}

/// Opens it so many times in a row, with a failed probe as soon as each time is over; gives the times.
fn open_times(breaker: &Breaker, random: &Random, times: usize) -> Vec<Duration> {
    let mut now = Duration::ZERO;
    let mut opened = Vec::new();
    while opened.len() < times {
        let moment = Moment {
            now,
            day: SystemTime::UNIX_EPOCH,
        };
        let change = breaker.admit(moment).0.unwrap().settle(ILL, moment, random);
        if let Some(open_for) = change.and_then(|change| change.open_for) {
            opened.push(open_for);
            now += open_for;
        }
    }
    opened
}

#[test]
fn opens_after_failures_in_a_row_and_an_answer_begins_the_row_anew() {
    let breaker = breaker();
    for verdict in [ILL, ILL, Verdict::Well, ILL, Verdict::Silent, ILL] {
        // What says nothing does not end a row.
        assert_eq!(call(&breaker, 0, verdict), None);
    }
    let change = call(&breaker, 0, ILL).unwrap();
    assert_eq!((change.from, change.to), (BreakerState::Closed, BreakerState::Open));
    assert_eq!(change.kind, Some(ErrorKind::Unavailable));
    assert_eq!(refusal(&breaker, 0).unwrap().kind, ErrorKind::Unavailable);
}

#[test]
fn opens_when_the_share_of_a_whole_window_failed() {
    let breaker = breaker();
    for (index, verdict) in [ILL, Verdict::Well, ILL, Verdict::Well, ILL].into_iter().enumerate() {
        assert_eq!(call(&breaker, 0, verdict), None, "call {index}: the window is not yet whole");
    }
    assert_eq!(call(&breaker, 0, Verdict::Well), None, "an answer never opens it");
    assert!(call(&breaker, 0, ILL).is_some(), "half of the last six failed");
    let tolerant = Breaker::new(BreakerOptions { window: 0, ..OPTIONS }, SystemTime::UNIX_EPOCH);
    for _ in 0..100 {
        assert_eq!(call(&tolerant, 0, ILL), None);
        assert_eq!(call(&tolerant, 0, ILL), None);
        assert_eq!(call(&tolerant, 0, Verdict::Well), None);
    }
}

#[test]
fn a_window_of_64_is_the_largest_and_whole() {
    let options = BreakerOptions {
        failures: 100,
        share: 1.0,
        window: 64,
        ..OPTIONS
    };
    let breaker = Breaker::new(options, SystemTime::UNIX_EPOCH);
    for _ in 0..63 {
        assert_eq!(call(&breaker, 0, ILL), None);
    }
    assert!(call(&breaker, 0, ILL).is_some());
}

#[test]
fn open_times_double_up_to_the_longest_and_half_of_each_is_random() {
    let mut firsts = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let opened = open_times(&breaker(), &Random::seeded(seed), 8);
        for (open_for, longest) in opened.iter().zip([100, 200, 400, 800, 1000, 1000, 1000, 1000]) {
            let longest = Duration::from_millis(longest);
            assert!(*open_for >= longest / 2 && *open_for <= longest, "seed {seed}: {opened:?}");
        }
        firsts.insert(opened[0]);
    }
    assert!(firsts.len() > 150, "only {} different times", firsts.len());
}

#[test]
fn a_level_without_end_stays_at_the_longest_time() {
    let opened = open_times(&breaker(), &Random::seeded(1), 100);
    assert!(
        opened[4..]
            .iter()
            .all(|open_for| *open_for >= OPTIONS.longest_open / 2 && *open_for <= OPTIONS.longest_open)
    );
}

#[test]
fn after_a_good_probe_the_times_begin_anew() {
    let breaker = breaker();
    open_times(&breaker, &Random::seeded(1), 5);
    let change = call(&breaker, 100_000, Verdict::Well).unwrap();
    assert_eq!((change.from, change.to), (BreakerState::HalfOpen, BreakerState::Closed));
    let opened = (0..3).find_map(|_| call(&breaker, 100_000, ILL)).unwrap();
    assert!(opened.open_for.unwrap() <= OPTIONS.first_open);
}

#[test]
fn half_open_lets_one_call_through_and_a_dropped_one_gives_its_place_back() {
    let breaker = breaker();
    open_times(&breaker, &Random::seeded(1), 1);
    let (probe, change) = breaker.admit(at(100));
    assert_eq!(change.map(|change| change.to), Some(BreakerState::HalfOpen));
    let busy = Refusal {
        kind: ErrorKind::Unavailable,
        wait: None,
    };
    assert_eq!(refusal(&breaker, 100), Some(busy));
    drop(probe);
    let (probe, change) = breaker.admit(at(100));
    assert_eq!(change, None, "it is half-open already");
    assert_eq!(refusal(&breaker, 100), Some(busy));
    // It could not say anything: the next one tries.
    assert_eq!(probe.unwrap().settle(Verdict::Silent, at(100), &Random::seeded(1)), None);
    assert_eq!(breaker.seen(at(100).now).state, BreakerState::HalfOpen);
    assert_eq!(
        call(&breaker, 100, Verdict::Well).map(|change| change.to),
        Some(BreakerState::Closed)
    );
}

#[test]
fn calls_from_before_a_change_say_nothing_about_the_state_after_it() {
    let breaker = breaker();
    let random = Random::seeded(1);
    let mut early: Vec<_> = (0..10).map(|_| breaker.admit(at(0)).0.unwrap()).collect();
    open_times(&breaker, &random, 1);
    let until = breaker.seen(Duration::ZERO).wait;
    // Ten more failures neither open it again nor for longer, and a late answer does not close it.
    for permit in early.drain(..8) {
        assert_eq!(permit.settle(ILL, at(0), &random), None);
    }
    assert_eq!(early.remove(0).settle(Verdict::Well, at(0), &random), None);
    let seen = breaker.seen(Duration::ZERO);
    assert_eq!((seen.state, seen.wait, seen.opened), (BreakerState::Open, until, 1));
    // Nor does it take a probe's place.
    let (probe, _) = breaker.admit(at(100));
    drop(early);
    assert!(refusal(&breaker, 100).is_some());
    drop(probe);
}

#[test]
fn a_pause_that_the_store_asks_for_is_kept_up_to_the_longest_time() {
    let breaker = breaker();
    let limited = |wait| Verdict::Ill(ErrorKind::RateLimited, Some(Duration::from_millis(wait)));
    assert_eq!(call(&breaker, 0, limited(300)), None);
    let pause = |wait| {
        Some(Refusal {
            kind: ErrorKind::RateLimited,
            wait: Some(Duration::from_millis(wait)),
        })
    };
    assert_eq!(refusal(&breaker, 299), pause(1));
    assert_eq!(breaker.seen(at(0).now).state, BreakerState::Closed);
    assert_eq!(call(&breaker, 300, limited(3_600_000)), None);
    assert_eq!(refusal(&breaker, 300), pause(1000));
    let change = call(&breaker, 1300, limited(700)).unwrap();
    assert_eq!(
        change.open_for,
        Some(Duration::from_millis(700)),
        "it is open at least as long as the pause"
    );
}

#[test]
fn only_three_kinds_make_it_ill() {
    for kind in ErrorKind::ALL {
        let is_ill = matches!(Verdict::of(&Error::new(kind, "no")), Verdict::Ill(..));
        let expected = matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::RateLimited);
        assert_eq!(is_ill, expected, "{kind}");
    }
}

/// One step of a random history.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    /// The call at this place among those under way ends.
    End(usize, Verdict),
    Cancel(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        4 => Just(ILL),
        3 => Just(Verdict::Well),
        1 => Just(Verdict::Silent),
        1 => Just(Verdict::Ill(ErrorKind::Timeout, None)),
    ];
    prop_oneof![
        5 => Just(Step::Begin),
        5 => (0..4_usize, verdict).prop_map(|(index, verdict)| Step::End(index, verdict)),
        1 => (0..4_usize).prop_map(Step::Cancel),
        2 => (0..400_u64).prop_map(Step::Wait),
    ]
}

/// The same breaker, told as a story: with a list instead of bits, and what it can't know (the random times) from outside.
#[derive(Default)]
struct Model {
    /// Until when it is open.
    open: Option<u64>,
    /// The call that tries it, while it is half-open; its place may be free.
    probe: Option<Option<u64>>,
    /// The outcomes since it was last closed.
    history: Vec<bool>,
    changes: u64,
}

impl Model {
    fn state(&self) -> BreakerState {
        match (self.open, self.probe) {
            (Some(_), _) => BreakerState::Open,
            (None, Some(_)) => BreakerState::HalfOpen,
            (None, None) => BreakerState::Closed,
        }
    }

    /// Whether a call may begin.
    fn begin(&mut self, call: u64, now: u64) -> bool {
        if self.open.is_some_and(|until| now < until) || matches!(self.probe, Some(Some(_))) {
            return false;
        }
        if self.open.take().is_some() {
            self.changes += 1;
            self.probe = Some(None);
        }
        if let Some(place) = &mut self.probe {
            *place = Some(call);
        }
        true
    }

    /// What it becomes when a call ends that began after `changes` changes.
    fn end(&mut self, call: u64, changes: u64, verdict: Option<Verdict>) -> Option<BreakerState> {
        if changes != self.changes {
            return None;
        }
        if self.probe == Some(Some(call)) {
            self.probe = Some(None);
            return match verdict? {
                Verdict::Well => Some(BreakerState::Closed),
                Verdict::Ill(..) => Some(BreakerState::Open),
                Verdict::Silent => None,
            };
        }
        self.history.push(match verdict? {
            Verdict::Well => false,
            Verdict::Ill(..) => true,
            Verdict::Silent => return None,
        });
        let row = self.history.iter().rev().take_while(|failed| **failed).count();
        let window = self.history.len().checked_sub(6).map(|start| &self.history[start..]);
        let many = window.is_some_and(|window| window.iter().filter(|failed| **failed).count() >= 3);
        let failed = self.history.last() == Some(&true);
        (failed && (row >= 3 || many)).then_some(BreakerState::Open)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_history_is_that_of_the_model_and_every_transition_legal(steps in prop::collection::vec(step(), 1..120), seed: u64) {
        let random = Random::seeded(seed);
        let breaker = breaker();
        let mut model = Model::default();
        let mut under_way: Vec<(u64, u64, Permit<'_>)> = Vec::new();
        let (mut now, mut calls) = (0, 0);
        for step in steps {
            let before = model.state();
            let change = match step {
                Step::Wait(time) => {
                    now += time;
                    None
                }
                Step::Begin => {
                    calls += 1;
                    let (permit, change) = breaker.admit(at(now));
                    prop_assert_eq!(permit.is_ok(), model.begin(calls, now));
                    under_way.extend(permit.map(|permit| (calls, model.changes, permit)));
                    change
                }
                Step::Cancel(index) if index < under_way.len() => {
                    let (call, changes, permit) = under_way.remove(index);
                    drop(permit);
                    model.end(call, changes, None);
                    None
                }
                Step::End(index, verdict) if index < under_way.len() => {
                    let (call, changes, permit) = under_way.remove(index);
                    let change = permit.settle(verdict, at(now), &random);
                    let to = model.end(call, changes, Some(verdict));
                    prop_assert_eq!(change.map(|change| change.to), to);
                    if let Some(to) = to {
                        let open_for = change.and_then(|change| change.open_for);
                        model.probe = None;
                        model.history.clear();
                        model.changes += 1;
                        model.open = (to == BreakerState::Open).then(|| {
                            let until = Duration::from_millis(now) + open_for.unwrap();
                            u64::try_from(until.as_nanos().div_ceil(1_000_000)).unwrap()
                        });
                    }
                    change
                }
                Step::Cancel(_) | Step::End(..) => None,
            };
            let seen = breaker.seen(Duration::from_millis(now));
            prop_assert_eq!(seen.state, model.state());
            prop_assert_eq!(seen.asked + seen.refused, calls);
            if let Some(change) = change {
                prop_assert_eq!((change.from, change.to, change.number), (before, model.state(), model.changes));
                use BreakerState::{Closed, HalfOpen, Open};
                prop_assert!(matches!((change.from, change.to), (Closed, Open) | (Open, HalfOpen) | (HalfOpen, Closed | Open)));
                prop_assert_eq!(change.kind.is_some(), change.to == Open);
            } else {
                prop_assert_eq!(before, model.state());
            }
        }
    }
}
