//! Measures other people's caches beside keyfob's layers.

mod aws;
mod maps;
mod vault;

use std::process::ExitCode;

use keyfob_bench_layers::report::Goal;
use keyfob_bench_layers::{Contestant, Fixture, Outcome, Peer};

fn main() -> ExitCode {
    keyfob_bench_layers::main(|fixture| {
        Ok(vec![
            peer("aws_secretsmanager_caching 2.1.0", aws::filled(fixture)?, Goal::Ratio(0.1)),
            peer("secret-vault 3.2.0", vault::filled(fixture)?, Goal::Ratio(1.0)),
            peer("moka 0.12.16, bare, with a time to live", maps::moka(fixture)?, Goal::None),
            peer("quick_cache 0.7.0, bare", maps::quick_cache(fixture)?, Goal::None),
        ])
    })
}

fn peer(title: &str, contestant: Contestant, goal: Goal) -> Peer {
    Peer {
        title: title.to_owned(),
        contestant,
        goal,
    }
}

/// Runs what fills a cache.
fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// The names and values of the fixture.
fn secrets(fixture: &Fixture) -> impl Iterator<Item = (String, String)> {
    let names = fixture.names.iter().enumerate();
    names.map(|(index, name)| (name.to_string(), Fixture::value(index)))
}
