//! What ails a store, and when.

use std::time::Duration;

use keyfob_core::{ErrorKind, SecretName};

use crate::dice::Dice;

/// How a store is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Illness {
    /// Every answer takes up to so long.
    Slow(Duration),
    /// This share of requests is refused, with a pause that it asks for or without.
    Throttled(f64, Option<Duration>),
    /// It refuses what is more than so many at once.
    Crowded(usize),
    /// This share of requests never gets an answer, and is not done.
    Hangs(f64),
    /// Nothing is served.
    Down,
    /// This share of requests fails like this and is not done.
    Flaky(f64, ErrorKind),
    /// This share of writes is done, but the answer gets lost: an error at once, or silence.
    LosesAnswers(f64),
    /// This share of writes is done long after the caller has been told that no answer came.
    DoesLate(f64),
    /// It does not know the caller any more, or doesn't let it.
    Refuses(ErrorKind),
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Course {
    Served,
    Fails(ErrorKind, Option<Duration>),
    Hangs,
    /// Done, then an error or nothing.
    Lost {
        silently: bool,
    },
    /// Not done before the caller is gone.
    Late(Duration),
}

/// The illnesses of one store over a day.
#[derive(Debug)]
pub(crate) struct Record {
    /// One after the other.
    episodes: Vec<Episode>,
    /// Names that may not be read for a while.
    denied: Vec<(SecretName, Duration, Duration)>,
}

#[derive(Debug)]
struct Episode {
    from: Duration,
    until: Duration,
    illness: Illness,
}

impl Record {
    pub(crate) fn draw(dice: &Dice, day: Duration, names: &[SecretName]) -> Self {
        let mut episodes = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            at += dice.magnitude(Duration::from_secs(60), Duration::from_secs(7200));
            let until = at + dice.magnitude(Duration::from_millis(500), Duration::from_secs(3600));
            if until >= day {
                break;
            }
            episodes.push(Episode {
                from: at,
                until,
                illness: Illness::draw(dice),
            });
            at = until;
        }
        let denied = (0..dice.below(4)).map(|_| {
            let from = dice.between(Duration::ZERO, day);
            let until = from + dice.magnitude(Duration::from_secs(10), Duration::from_secs(7200));
            (names[dice.popular(names.len())].clone(), from, until)
        });
        Self {
            denied: denied.collect(),
            episodes,
        }
    }

    /// Down for a while, and well otherwise.
    pub(crate) fn outage((from, until): (Duration, Duration)) -> Self {
        let illness = Illness::Down;
        Self {
            episodes: vec![Episode { from, until, illness }],
            denied: Vec::new(),
        }
    }

    /// The moments at which it changes, when it is most worth looking.
    pub(crate) fn turns(&self) -> impl Iterator<Item = Duration> {
        self.episodes.iter().flat_map(|episode| [episode.from, episode.until])
    }

    pub(crate) fn at(&self, now: Duration) -> Option<Illness> {
        let next = self.episodes.partition_point(|episode| episode.from <= now);
        let episode = self.episodes.get(next.checked_sub(1)?)?;
        (now < episode.until).then_some(episode.illness)
    }

    pub(crate) fn denies(&self, name: &SecretName, now: Duration) -> bool {
        self.denied
            .iter()
            .any(|(denied, from, until)| denied == name && (*from..*until).contains(&now))
    }
}

impl Illness {
    fn draw(dice: &Dice) -> Self {
        let share = dice.pick(&[0.1, 0.5, 1.0]);
        let pause = dice.pick(&[
            None,
            Some(Duration::from_millis(300)),
            Some(Duration::from_secs(3)),
            Some(Duration::from_secs(100)),
        ]);
        let kinds = [
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::RateLimited,
            ErrorKind::Corrupt,
            ErrorKind::Other,
        ];
        let refusals = [ErrorKind::PermissionDenied, ErrorKind::Unauthenticated];
        match dice.below(12) {
            0 | 1 => Self::Slow(dice.magnitude(Duration::from_millis(100), Duration::from_secs(40))),
            2 => Self::Throttled(share, pause),
            3 => Self::Crowded(dice.pick(&[1, 3, 10])),
            4 => Self::Hangs(share),
            5 | 6 => Self::Down,
            7 => Self::Flaky(share, dice.pick(&kinds)),
            8 | 9 => Self::LosesAnswers(share),
            10 => Self::DoesLate(share),
            _ => Self::Refuses(dice.pick(&refusals)),
        }
    }

    /// What becomes of a request that arrives while so many are served.
    pub(crate) fn course(self, dice: &Dice, is_write: bool, at_once: usize) -> Course {
        match self {
            Self::Throttled(share, pause) if dice.chance(share) => Course::Fails(ErrorKind::RateLimited, pause),
            Self::Crowded(most) if at_once > most => Course::Fails(ErrorKind::RateLimited, None),
            Self::Hangs(share) if dice.chance(share) => Course::Hangs,
            Self::Down => Course::Fails(ErrorKind::Unavailable, None),
            Self::Flaky(share, kind) if dice.chance(share) => Course::Fails(kind, None),
            Self::LosesAnswers(share) if is_write && dice.chance(share) => Course::Lost {
                silently: dice.chance(0.5),
            },
            Self::DoesLate(share) if is_write && dice.chance(share) => {
                Course::Late(dice.magnitude(Duration::from_millis(100), Duration::from_secs(60)))
            }
            Self::Refuses(kind) => Course::Fails(kind, None),
            _ => Course::Served,
        }
    }

    /// How long an answer takes.
    pub(crate) fn delay(illness: Option<Self>, dice: &Dice) -> Duration {
        let most = match illness {
            Some(Self::Slow(most)) => most,
            _ => Duration::from_millis(40),
        };
        dice.between(Duration::from_millis(1), most)
    }
}
