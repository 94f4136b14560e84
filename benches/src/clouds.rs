//! Starting a process with secrets from a server, near and far: keyfob beside its peers, and above the floor.
//!
//! The servers are those of the test bed. The floor is a bare client in this process that sends the fewest requests that
//! can do the job, concurrently, on connections of its own.

mod contestant;
mod front;
mod http;
mod secrets;
mod service;
mod table;
mod tls;
mod tunnel;
mod way;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use keyfob_integration_tests::fault_proxy::Line;
use tokio::runtime::Runtime;

use crate::Outcome;
use crate::report::{Report, say, shown};
use crate::sample::{Effort, Samples};
use contestant::{Contestant, Ready};
use secrets::SECRETS;
use service::{Kind, Service};
use table::{Cell, Side};
use way::Way;

/// Milliseconds that are added to the round-trip time.
const ROUND_TRIPS: [u64; 2] = [0, 20];
/// A run that fails is done again, but not more often than this in a row.
const MOST_ATTEMPTS: usize = 3;

pub(crate) fn measure(report: &mut Report, effort: Effort) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let contestants = contestant::all()?;
    let (mut notes, mut missing) = (Vec::new(), Missing::default());
    for (name, reason) in contestants.absent {
        missing.add(name, &reason);
    }
    let mut cells = Vec::new();
    for kind in Kind::ALL {
        let service = match runtime.block_on(Service::prepare(kind))? {
            Ok(service) => service,
            Err(variable) if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) => {
                return Err(format!("`{variable}` is not set: `cargo xtask bench` starts the servers").into());
            }
            Err(variable) => {
                missing.add(kind.name().to_owned(), &format!("`{variable}` is not set"));
                continue;
            }
        };
        let measured = of_service(&runtime, effort, &service, &contestants.present, &mut notes, &mut missing);
        runtime.block_on(service.remove())?;
        cells.extend(measured?);
    }
    notes.push(
        "floor: a client in the process that measures, so without starting a process and without reading any configuration; \
         it sends the fewest requests that can do the job, on fresh connections at the same time, with credentials that it has \
         at hand (it logs in only at Key Vault)"
            .to_owned(),
    );
    notes.extend(missing.notes());
    report.section(table::section(&cells, &notes));
    // What could be measured is shown all the same.
    match cells.iter().find(|cell| !cell.has_keyfob()) {
        None => Ok(()),
        Some(cell) => Err(format!("{}: keyfob was not measured", cell.title()).into()),
    }
}

/// The names and versions of the servers that migrations go to.
pub(crate) async fn of_migrations() -> Outcome<Vec<String>> {
    service::of_migrations().await
}

fn of_service(
    runtime: &Runtime,
    effort: Effort,
    service: &Service,
    contestants: &[Contestant],
    notes: &mut Vec<String>,
    missing: &mut Missing,
) -> Outcome<Vec<Cell>> {
    let mut cells = Vec::new();
    for millis in ROUND_TRIPS {
        let round_trip = Duration::from_millis(millis);
        let way = Way::to(service, Some(Line::round_trip(round_trip)))?;
        let homes = tempfile::tempdir()?;
        let mut racers = Vec::new();
        for floor in service.floors() {
            let way = &way;
            let racer = Racer::new(
                floor.to_string(),
                Side::Floor,
                Box::new(move || runtime.block_on(service.fetch(way, floor))),
            );
            racers.push(racer);
        }
        for (index, contestant) in contestants.iter().enumerate() {
            let home = homes.path().join(index.to_string());
            let ready = match prepared(contestant, service, &way, &home) {
                Ok(ready) => ready,
                Err(error) => {
                    missing.add(format!("{} on {}", contestant.name, service.name), &error.to_string());
                    continue;
                }
            };
            let side = if contestant.is_keyfob() { Side::Keyfob } else { Side::Peer };
            let start = move || started(&ready, &["/bin/true"]).map(drop);
            racers.push(Racer::new(contestant.name.clone(), side, Box::new(start)));
        }
        race(&mut racers, effort, &way)?;
        let cell = Cell {
            server: service.name.clone(),
            round_trip,
            goal: (!round_trip.is_zero()).then(|| service.goal()),
            results: racers.into_iter().map(Racer::result).collect(),
        };
        for result in &cell.results {
            say(&format!(
                "{}: {}: {}",
                cell.title(),
                result.name,
                shown(result.times.median())
            ));
        }
        cells.push(cell);
    }
    notes.push(share_of_the_proxy(runtime, effort, service)?);
    Ok(cells)
}

/// The contestant, after it has shown that it can.
fn prepared<'a>(contestant: &'a Contestant, service: &Service, way: &Way, home: &Path) -> Outcome<Ready<'a>> {
    let ready = contestant.prepare(service, way, home)?;
    check(&ready, service, home)?;
    Ok(ready)
}

/// A measurement of a command that did nothing would be worth nothing: the child must see all values.
fn check(ready: &Ready<'_>, service: &Service, home: &Path) -> Outcome {
    // To a file: there are contestants that change what a child prints.
    let seen = home.join("seen");
    let path = seen.to_string_lossy();
    let said = started(ready, &["/bin/sh", "-c", "/usr/bin/env > \"$0\"", &path])?;
    let right = service.secrets.right(&fs::read_to_string(&seen)?);
    fs::remove_file(seen)?;
    if right == SECRETS {
        Ok(())
    } else {
        Err(format!("the child saw {right} of {SECRETS} values: {}", essence(&said)).into())
    }
}

/// What it said on standard error.
fn started(ready: &Ready<'_>, child: &[&str]) -> Outcome<String> {
    let output = ready.command(child).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(format!("{}: {}", output.status, essence(&said)).into()),
    }
}

/// The first line of what a program said.
fn essence(said: &str) -> String {
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("it said nothing").chars().take(300).collect()
}

/// Who was not measured, and why.
#[derive(Default)]
struct Missing(Vec<(String, Vec<String>)>);

impl Missing {
    /// `whom` together with all others of the same reason.
    fn add(&mut self, whom: String, reason: &str) {
        say(&format!("not measured, {whom}: {reason}"));
        match self.0.iter_mut().find(|(known, _)| known == reason) {
            Some((_, all)) if all.contains(&whom) => {}
            Some((_, all)) => all.push(whom),
            None => self.0.push((reason.to_owned(), vec![whom])),
        }
    }

    fn notes(&self) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .map(|(reason, whom)| format!("not measured, {}: {reason}", whom.join(", ")))
    }
}

struct Racer<'a> {
    name: String,
    side: Side,
    run: Box<dyn FnMut() -> Outcome + 'a>,
    times: Vec<Duration>,
    connections: Vec<Option<usize>>,
    requests: Vec<Option<usize>>,
    failures: usize,
}

impl<'a> Racer<'a> {
    fn new(name: String, side: Side, run: Box<dyn FnMut() -> Outcome + 'a>) -> Self {
        Self {
            name,
            side,
            run,
            times: Vec::new(),
            connections: Vec::new(),
            requests: Vec::new(),
            failures: 0,
        }
    }

    /// Runs it once, and says how long it took.
    fn run(&mut self, way: &Way) -> Outcome<Duration> {
        for _ in 1..=MOST_ATTEMPTS {
            way.forget();
            let start = Instant::now();
            match (self.run)() {
                Ok(()) => {
                    let time = start.elapsed();
                    self.connections.push(way.connections());
                    self.requests.push(way.requests());
                    return Ok(time);
                }
                Err(error) => {
                    self.failures += 1;
                    say(&format!("{} failed: {error}", self.name));
                }
            }
        }
        Err(format!("{} failed {MOST_ATTEMPTS} times in a row", self.name).into())
    }

    fn result(mut self) -> table::Result {
        table::Result {
            name: self.name,
            side: self.side,
            times: self.times.into(),
            connections: median(&mut self.connections),
            requests: median(&mut self.requests),
            failures: self.failures,
        }
    }
}

/// Everyone once a round, in an order that rotates, after one uncounted run of each. Who is slow takes part in fewer rounds.
fn race(racers: &mut [Racer<'_>], effort: Effort, way: &Way) -> Outcome {
    let rounds = effort.samples(31);
    let mut pauses = Vec::new();
    for racer in racers.iter_mut() {
        pauses.push(match racer.run(way)? {
            _ if effort == Effort::Quick => 1,
            time if time < Duration::from_secs(1) => 1,
            time if time < Duration::from_secs(4) => 3,
            _ => 6,
        });
    }
    for round in 0..rounds {
        for position in 0..racers.len() {
            let index = (position + round) % racers.len();
            if round % pauses[index] == 0 {
                let time = racers[index].run(way)?;
                racers[index].times.push(time);
            }
        }
    }
    Ok(())
}

/// The floor without the proxy beside the floor through it.
fn share_of_the_proxy(runtime: &Runtime, effort: Effort, service: &Service) -> Outcome<String> {
    let line = Line::default();
    let (direct, proxied) = (Way::to(service, None)?, Way::to(service, Some(line))?);
    let mut notes = Vec::new();
    for floor in service.floors() {
        let through = |way| move || runtime.block_on(service.fetch(way, floor));
        let (direct, proxied): (Samples, Samples) =
            crate::sample::pairs(effort.samples(31), through(&direct), through(&proxied))?;
        notes.push(format!(
            "{floor}: {} and {} through it",
            shown(direct.median()),
            shown(proxied.median())
        ));
    }
    Ok(format!("{} without the proxy: {}", service.name, notes.join("; ")))
}

fn median<T: Ord + Copy>(numbers: &mut [T]) -> T {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}
