//! Measures an emergency: every secret gets a new value, and no old one stays valid, in a store that is 20 ms away.
//!
//! `--quick` rotates few secrets, to show that the measurement runs; `--write` also replaces `docs/src/benchmarks-rotation.md`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt as _};
use keyfob_bench_layers::Outcome;
use keyfob_bench_layers::report::{Goal, Report, say};
use keyfob_bench_layers::sample::{Effort, Samples};
use keyfob_core::{DeleteOptions, GetOptions, PutRequest, SecretName, SecretStore, async_trait};
use keyfob_integration_tests::fault_proxy::{FaultProxy, Line};
use keyfob_integration_tests::servers;
use keyfob_rotation::{Made, Pass, Policies, Rotation, Rotator, Rotators};
use keyfob_vault::{Address, AuthConfig, Vault, VaultConfig, VaultStore};

const ROUND_TRIP: Duration = Duration::from_millis(20);

/// How many secrets are rotated at the same time: what `-j` is by default, and four times that.
const AT_ONCE: [usize; 2] = [16, 64];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Outcome {
    let (Ok(url), Ok(token)) = (
        std::env::var("KEYFOB_TEST_OPENBAO_URL"),
        std::env::var("KEYFOB_TEST_OPENBAO_TOKEN"),
    ) else {
        say("warning: there is no OpenBao, so rotations are not measured");
        return Ok(());
    };
    let secrets = match Effort::of(arguments) {
        Effort::Quick => 40,
        Effort::Full => 1000,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::default();
    let mut rows = String::new();
    for at_once in AT_ONCE {
        let run = runtime.block_on(emergency(&url, &token, secrets, at_once))?;
        let least = ROUND_TRIP.as_secs_f64() * run.requests as f64 / at_once as f64;
        report.ratio(
            &format!("emergency rotation of {secrets} secrets, {at_once} at once"),
            &format!("{} requests of 20 ms, {at_once} at once", run.requests),
            &Samples::from(vec![run.took.as_secs_f64()]),
            &Samples::from(vec![least]),
            Goal::Ratio(2.0),
        );
        report.ratio(
            &format!("the same beside bare reads, {at_once} at once"),
            &format!("{} reads of one secret through the same proxy", run.requests),
            &Samples::from(vec![run.took.as_secs_f64()]),
            &Samples::from(vec![run.bare.as_secs_f64()]),
            Goal::Ratio(2.0),
        );
        let each = run.requests as f64 / secrets as f64;
        let _ = writeln!(
            rows,
            "| {at_once} | {} | {each:.2} | {:.2} s | {least:.2} s | {:.2} s |",
            run.requests,
            run.took.as_secs_f64(),
            run.bare.as_secs_f64()
        );
    }
    report.section(format!(
        "## An emergency\n\n`keyfob rotate --all --emergency` of {secrets} secrets in OpenBao, through a proxy that makes every round trip last 20 ms: the \
         plan, which lists the secrets and reads the journal of each, and then every rotation from its beginning to the old value's revocation. \
         The least that this can take is the time of its requests, as many of them at once as secrets are rotated at once; how long \
         this machine and the server take for as many bare reads stands beside it. Requests are counted by the proxy. A rotation \
         makes 15, two at a time where one does not depend on the other, and listing and reading its journal beforehand two; OpenBao is \
         asked twice for a write under a condition.\n\n| at once | requests | for each secret | took | least | bare reads |\n|---|---|---|---|---|---|\n{rows}"
    ));
    report.print();
    if arguments.iter().any(|argument| argument == "--write") {
        let command = "cargo xtask bench --only-rotation --write";
        let server = format!("- OpenBao {}\n", version(&url)?);
        report.write("benchmarks-rotation", "Benchmarks of rotations", command, &server)?;
    }
    Ok(())
}

/// What the server says of itself.
fn version(url: &str) -> Outcome<String> {
    let health = servers::send("GET", &format!("{url}/v1/sys/health"), &[], "");
    let version = health.split("\"version\":\"").nth(1).and_then(|rest| rest.split('"').next());
    Ok(version.ok_or("the server says no version")?.to_owned())
}

/// What a run took.
struct Run {
    took: Duration,
    requests: usize,
    /// What as many reads take, one request each.
    bare: Duration,
}

async fn emergency(url: &str, token: &str, secrets: usize, at_once: usize) -> Outcome<Run> {
    let prefix = format!("bench-{:x}/", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    let near = store(url, token).await?;
    let names: Vec<SecretName> = (0..secrets)
        .map(|number| SecretName::new(format!("{prefix}{number:04}")))
        .collect::<keyfob_core::Result<_>>()?;
    each(&names, async |name| {
        near.put(name, PutRequest::new("the first value")).await.map(|_| ())
    })
    .await?;

    let proxy = FaultProxy::to(url)?.line(Line::round_trip(ROUND_TRIP)).start()?;
    let far = store(&proxy.url(), token).await?;
    let rotation = Rotation::new(Arc::clone(&far));
    let policies = format!("policies: [{{ name: all, secrets: [\"{prefix}*\"], make: {{ hex: {{ bytes: 32 }} }} }}]");
    let policies = Policies::parse(&policies)?;
    let options = GetOptions::default();
    let pass = Pass {
        concurrency: at_once,
        emergency: true,
    };
    let before = proxy.requests().len();
    let start = Instant::now();
    let plan = rotation.plan(&policies).await?;
    let passed = rotation.pass(&plan.entries, &Ready, &pass, |_| {}).await;
    let took = start.elapsed();
    let requests = proxy.requests().len() - before;
    if passed.len() != secrets {
        return Err(format!("{} of {secrets} secrets were rotated", passed.len()).into());
    }
    for passed in passed {
        passed.outcome?;
    }
    let start = Instant::now();
    let mut reads = stream::iter(0..requests)
        .map(|_| far.get(&names[0], &options))
        .buffer_unordered(at_once);
    while let Some(read) = reads.next().await {
        read?;
    }
    let bare = start.elapsed();
    each(&names, async |name| {
        let reserved = ["", ".keyfob-rotation", ".keyfob-pending"];
        for suffix in reserved {
            let name = SecretName::new(format!("{name}{suffix}"))?;
            near.delete(&name, &DeleteOptions::default()).await?;
        }
        Ok(())
    })
    .await?;
    Ok(Run { took, requests, bare })
}

async fn each(names: &[SecretName], work: impl AsyncFn(&SecretName) -> keyfob_core::Result<()>) -> Outcome {
    let mut all = stream::iter(names).map(|name| work(name)).buffer_unordered(16);
    while let Some(done) = all.next().await {
        done?;
    }
    Ok(())
}

async fn store(url: &str, token: &str) -> Outcome<Arc<dyn SecretStore>> {
    let config = VaultConfig::new(Address::parse(url)?, AuthConfig::token(token));
    Ok(Arc::new(VaultStore::new(Vault::connect(&config).await?, &config)?))
}

struct Ready;

#[async_trait]
impl Rotators for Ready {
    async fn rotator(&self, made: &Made) -> keyfob_core::Result<Arc<dyn Rotator>> {
        match made {
            Made::Ready(rotator) => Ok(Arc::clone(rotator)),
            other => Err(keyfob_core::Error::new(
                keyfob_core::ErrorKind::Unsupported,
                format!("nothing is measured of {other:?}"),
            )),
        }
    }
}
